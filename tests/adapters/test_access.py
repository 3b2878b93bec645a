"""Who may ask on the metrics port: certificates, passwords, and both replaced while the agent runs."""

from __future__ import annotations

import base64
import http.client
import io
import shutil
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from monitor.adapters import web_server
from monitor.adapters.access import (
    HASHES_PER_SECOND,
    Access,
    Answer,
    Login,
    ServeFailed,
    hash_password,
    is_open_to_all,
    is_password_in_clear,
)
from monitor.adapters.http import StatusServer
from monitor.cli import execute
from monitor.config import AuthSettings, ServeSettings, TlsSettings
from tests.adapters.views import snapshot
from tests.deploy.servers import required
from tests.kafka.certificates import Certificates, make_certificates

PASSWORD = "pass:wörd and a space"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    required("openssl", install="apt-get install openssl")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def serving(
    host: str = "127.0.0.1", *, cert: Path | None = None, key: Path | None = None, ca: Path | None = None,
    password: Path | None = None,
) -> ServeSettings:  # fmt: skip
    files = [None if path is None else str(path) for path in (cert, key, ca, password)]
    tls = TlsSettings(cert_file=files[0], key_file=files[1], client_ca_file=files[2])
    auth = AuthSettings(username="prometheus" if password else None, password_file=files[3])
    return ServeSettings(host=host, port=0, tls=tls, auth=auth)


@contextmanager
def served(settings: ServeSettings) -> Iterator[StatusServer]:
    with closing(StatusServer("127.0.0.1", 0, snapshot, access=Access(settings))) as server:
        yield server


def trusting(made: Certificates, client: bool = False, unknown: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(made.authority))
    if client or unknown:
        pair = made.unknown_client if unknown else made.client
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def status(server: StatusServer, context: ssl.SSLContext, path: str = "/metrics", **headers: str) -> int:
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=60, context=context)
    with closing(connection):
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


def basic(password: str, user: str = "prometheus") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_tls_is_served_and_clear_text_is_not(made: Certificates) -> None:
    """Whoever switched TLS on must not be read by somebody who asks without."""
    with served(serving(cert=made.server.certificate, key=made.server.key)) as server:
        assert server.address.startswith("https://")
        assert status(server, trusting(made)) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            status(server, ssl.create_default_context())
        plain = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        plain.request("GET", "/metrics")
        with pytest.raises((http.client.HTTPException, OSError)):
            plain.getresponse()


def test_mutual_tls_knows_its_clients(made: Certificates) -> None:
    """Only who was given a certificate by the named authority is answered, health included."""
    settings = serving(cert=made.server.certificate, key=made.server.key, ca=made.authority)
    with served(settings) as server:
        assert status(server, trusting(made, client=True)) == 200
        for stranger in (trusting(made), trusting(made, unknown=True)):
            with pytest.raises((ssl.SSLError, http.client.HTTPException, OSError)):
                status(server, stranger, "/healthz")
        assert status(server, trusting(made, client=True), "/healthz") == 200


@pytest.mark.parametrize("hashed", [False, True])
def test_a_password_opens_all_and_health_needs_none(made: Certificates, tmp_path: Path, hashed: bool) -> None:
    """A kubelet has no password; everybody else is asked for it, on paths that do not exist, too."""
    file = tmp_path / "password"
    file.write_text((hash_password(PASSWORD.encode()) if hashed else PASSWORD) + "\n")
    settings = serving(cert=made.server.certificate, key=made.server.key, password=file)
    with served(settings) as server:
        context = trusting(made)
        assert status(server, context, "/healthz") == status(server, context, "/readyz") == 200
        assert status(server, context) == status(server, context, "/") == status(server, context, "/no") == 401
        assert status(server, context, Authorization=basic("wrong")) == 401
        assert status(server, context, Authorization=basic(PASSWORD, "root")) == 401
        assert status(server, context, Authorization=basic(PASSWORD)) == 200
        assert status(server, context, "/no", Authorization=basic(PASSWORD)) == 404


@pytest.mark.parametrize("header", [
    None, "", "Basic", "Basic !!!", "Bearer x", "Basic " + base64.b64encode(b"no colon").decode(), "Basic ü",
    "Basic \u0430", basic("x" * 5_000),
])  # fmt: skip
def test_odd_headers_are_only_wrong(header: str | None) -> None:
    """Anybody may send anything: it is never an exception, and never a way in."""
    hashed = Login(b"prometheus", hash_password(b"secret").encode(), "file")
    assert {login.answer(header, 0.0) for login in (hashed, Login(b"prometheus", b"secret", "file"))} == {Answer.WHO}


def test_guesses_at_a_hash_are_slowed_down_and_the_owner_is_not() -> None:
    """A guess costs 40 ms of the host's time: an attacker gets a few a second, and a scrape goes on."""
    login = Login(b"prometheus", hash_password(b"secret").encode(), "file")
    assert login.answer(basic("secret"), 0.0) == Answer.YES
    answers = [login.answer(basic(f"guess-{index}"), 0.0) for index in range(10)]
    assert answers.count(Answer.LATER) == 10 - (HASHES_PER_SECOND - 1)
    assert login.answer(basic("secret"), 0.0) == Answer.YES
    assert login.answer(basic("guess"), 1.0) == Answer.WHO


def test_certificates_and_passwords_are_replaced_while_running(made: Certificates, tmp_path: Path) -> None:
    """Certificates live for weeks, agents longer. A half-written file leaves what was there."""
    cert, key, password = (tmp_path / name for name in ("cert.pem", "key.pem", "password"))
    shutil.copy(made.unknown_client.certificate, cert)
    shutil.copy(made.unknown_client.key, key)
    password.write_text("first")
    stale: list[str] = []
    access = Access(serving(cert=cert, key=key, password=password), on_stale=stale.append)
    before = access.context
    shutil.copy(made.server.certificate, cert)
    access.reread()
    assert access.context is before and stale == [str(cert)]
    shutil.copy(made.server.key, key)
    password.write_text("second one")
    access.reread()
    assert access.context is not before
    assert access.answer("/", basic("first"), 0.0) == Answer.WHO
    assert access.answer("/", basic("second one"), 0.0) == Answer.YES


def test_a_new_certificate_is_served_without_a_restart(
    made: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that has to be restarted each time loses nothing, but is late for what happens meanwhile."""
    monkeypatch.setattr(web_server, "REREAD_SECONDS", 0.05)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(made.unknown_client.certificate, cert)
    shutil.copy(made.unknown_client.key, key)
    with served(serving(cert=cert, key=key)) as server:
        before = ssl.get_server_certificate(("127.0.0.1", server.port), timeout=60)
        shutil.copy(made.server.key, key)
        shutil.copy(made.server.certificate, cert)
        deadline = time.monotonic() + 60
        while ssl.get_server_certificate(("127.0.0.1", server.port), timeout=60) == before:
            assert time.monotonic() < deadline, "the old certificate is still served"
        assert status(server, trusting(made)) == 200


@pytest.mark.parametrize(("field", "content", "said"), [
    ("cert", None, "serve.tls.cert_file: .*cannot be read: No such file"),
    ("cert", b"no certificate", "serve.tls: .*are not a certificate"),
    ("key", b"no key", "serve.tls: .*are not a certificate"),
    ("ca", b"", "serve.tls.client_ca_file: .*holds no certificate"),
    ("password", b"\n", "serve.auth.password_file: .*1 to 1024 bytes"),
    ("password", b"scrypt$nonsense", "hash-password"),
    ("password", b"scrypt$1073741824$8$1$AAAA$AAAA", "hash-password"),
])  # fmt: skip
def test_a_file_that_does_not_fit_is_named(
    made: Certificates, tmp_path: Path, field: str, content: bytes | None, said: str
) -> None:
    """At 3 a.m., `[SSL] PEM lib (_ssl.c:3900)` helps nobody."""
    files = {"cert": made.server.certificate, "key": made.server.key}
    files[field] = tmp_path / "file"
    if content is not None:
        files[field].write_bytes(content)
    settings = serving(cert=files["cert"], key=files["key"], ca=files.get("ca"), password=files.get("password"))
    with pytest.raises(ServeFailed, match=said):
        Access(settings)


@pytest.mark.parametrize(("host", "open_to_all"), [
    ("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True), ("10.1.2.3", True),
    ("a-name", True),
])  # fmt: skip
def test_who_listens_to_the_world_is_warned(host: str, open_to_all: bool, tmp_path: Path) -> None:
    """Names of customers and groups are on the page: whoever opens it to a network should mean it."""
    assert is_open_to_all(serving(host)) is open_to_all
    assert not is_open_to_all(serving(host, password=tmp_path))
    assert is_password_in_clear(serving(host, password=tmp_path)) is open_to_all
    assert not is_password_in_clear(serving(host, password=tmp_path, cert=tmp_path, key=tmp_path))
    assert not is_open_to_all(serving(host, cert=tmp_path, key=tmp_path, ca=tmp_path))


def test_the_command_hashes_what_it_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A secret store may keep the hash: who reads it there cannot read our page."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
    assert execute(["hash-password"]) == 0
    line = capsys.readouterr().out.strip()
    assert "secret" not in line
    assert Login(b"prometheus", line.encode(), "file").answer(basic("secret"), 0.0) == Answer.YES
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert execute(["hash-password"]) == 2
