"""Decides who the tests' secure broker is and whom it knows: throw-away certificates, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.kafka.installation import NotInstalled

_DAYS = "2"


class KeyPair(NamedTuple):
    """PEM files."""

    certificate: Path
    key: Path


class Certificates(NamedTuple):
    """`unknown_*` belong to an authority that nobody trusts."""

    authority: Path
    server: KeyPair
    client: KeyPair
    unknown_authority: Path
    unknown_client: KeyPair


def make_certificates(folder: Path) -> Certificates:
    """Two authorities; a server and a client of the first, a client of the second."""
    folder.mkdir(parents=True, exist_ok=True)
    known, unknown = _authority(folder, "authority"), _authority(folder, "unknown-authority")
    return Certificates(
        authority=known.certificate,
        server=_signed(folder, "server", known, "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        client=_signed(folder, "client", known),
        unknown_authority=unknown.certificate,
        unknown_client=_signed(folder, "unknown-client", unknown),
    )


def _authority(folder: Path, name: str) -> KeyPair:
    pair = KeyPair(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl(
        folder,
        "req",
        "-x509",
        *_new_key(pair.key),
        "-days",
        _DAYS,
        "-subj",
        f"/CN={name}",
        "-out",
        pair.certificate.name,
    )
    return pair


def _signed(folder: Path, name: str, by: KeyPair, extension: str = "extendedKeyUsage=clientAuth") -> KeyPair:
    pair = KeyPair(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl(folder, "req", *_new_key(pair.key), "-subj", f"/CN={name}", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(f"{extension}\n")
    _openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", by.certificate.name, "-CAkey", by.key.name, "-CAcreateserial"),
        *("-days", _DAYS, "-extfile", f"{name}.ext", "-out", pair.certificate.name),
    )
    return pair


def _new_key(key: Path) -> tuple[str, ...]:
    """P-256: made at once, where RSA takes most of a second."""
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key.name)


def _openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise NotInstalled("no openssl: install it (package openssl)")
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
