"""Decides what `wervane hash-password` prints: a line for `serve.auth.password_file` without the password."""

from __future__ import annotations

import sys

import typer


def hash_password() -> None:
    """Hash a password for `serve.auth.password_file`: read from standard input, or asked for on a terminal."""
    from monitor.adapters.access import PASSWORD_BYTES_MAX
    from monitor.adapters.access import hash_password as hashed
    from monitor.config import ConfigError
    from monitor.settings_source import Problem

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True).encode()
    else:
        password = sys.stdin.buffer.read(PASSWORD_BYTES_MAX + 3).strip(b"\r\n")
    if not 0 < len(password) <= PASSWORD_BYTES_MAX:
        want = f"a password of 1 to {PASSWORD_BYTES_MAX} bytes"
        raise ConfigError([Problem(path="standard input", got=f"{len(password)} bytes", want=want)])
    typer.echo(hashed(password))
