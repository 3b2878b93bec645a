"""The pure core: no clock, environment, file, socket, log, thread or randomness."""
