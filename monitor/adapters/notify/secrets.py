"""Decides what of a secret file is the secret: read anew for each request, so that a rotated one is used at once."""

from __future__ import annotations

from pathlib import Path

SECRET_BYTES_MAX = 4 * 1024
"""A file that is larger is not a password but the wrong file."""


class SecretUnfit(Exception):
    """A file that holds no usable secret. The message names neither file nor content."""


def read_secret(path: str) -> str:
    """The first and only line of the file. Raises SecretUnfit."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise SecretUnfit(f"a file that cannot be read ({error.strerror or type(error).__name__})") from None
    if len(content) > SECRET_BYTES_MAX:
        raise SecretUnfit("a file that is too large for a secret")
    try:
        secret = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise SecretUnfit("a file that is not plain text") from None
    if not secret or not secret.isprintable():
        raise SecretUnfit("an empty file" if not secret else "a file of several lines")
    return secret
