"""`python -m monitor` is `wervane`."""

from monitor.cli import main

if __name__ == "__main__":
    main()
