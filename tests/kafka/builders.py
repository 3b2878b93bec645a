"""Decides nothing: configurations that lead to the tests' brokers, so that a test names only what counts."""

from __future__ import annotations

from pathlib import Path

from monitor.adapters.kafka.connection import Connection, read_connection
from monitor.config import Settings, load_settings
from tests.kafka.broker import Broker


def settings_for(server: str, protocol: str = "PLAINTEXT", /, **more: object) -> Settings:
    """The defaults, and this way to a broker; `more` names settings with `__` for dots."""
    overrides: dict[str, object] = {
        "kafka.bootstrap_servers": [server],
        "kafka.security.protocol": protocol,
        "kafka.allow_plaintext": "PLAINTEXT" in protocol,
    }
    for name, value in more.items():
        overrides[name.replace("__", ".")] = str(value) if isinstance(value, Path) else value
    return load_settings(None, {}, overrides)


def connection_to(server: str, protocol: str = "PLAINTEXT", **security: object) -> Connection:
    """`security` names settings of `kafka.security`."""
    more = {f"kafka__security__{name}": value for name, value in security.items()}
    return read_connection(settings_for(server, protocol, **more).kafka)


def with_password(broker: Broker, folder: Path, *, mechanism: str = "SCRAM-SHA-512", **other: object) -> Connection:
    """SASL_SSL, by files in `folder`; `other` may name `username`, `password`, `server` and settings of security."""
    access = broker.access
    user, password = folder / "user", folder / "password"
    user.write_text(f"{other.pop('username', access.username)}\n")
    password.write_text(f"{other.pop('password', access.password)}\n")
    server = str(other.pop("server", access.sasl_ssl))
    trusted = {"ca_file": access.certificates.authority} | other
    return connection_to(server, "SASL_SSL", mechanism=mechanism, username_file=user, password_file=password, **trusted)


def with_certificate(broker: Broker, **other: object) -> Connection:
    """SSL with a client certificate."""
    known = broker.access.certificates
    security = {"ca_file": known.authority, "cert_file": known.client.certificate, "key_file": known.client.key}
    return connection_to(broker.access.ssl, "SSL", **(security | other))
