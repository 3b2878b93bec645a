"""How a request leaves: only to whom it was meant for, and for no longer than allowed, over TLS as well."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import pytest

from monitor.adapters.notify.posting import Answer, Request, Unreachable, post
from tests.agent.receivers import receiving
from tests.deploy.servers import refused
from tests.kafka.certificates import Certificates, make_certificates
from tests.kafka.installation import NotInstalled


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    try:
        return make_certificates(tmp_path_factory.mktemp("certificates"))
    except NotInstalled as missing:
        refused(str(missing))


@pytest.fixture
def tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.certificate, certificates.server.key)
    return context


def trusting(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))


def reason(request: Request) -> str:
    with pytest.raises(Unreachable) as failed:
        post(request, total_seconds=1.0)
    return failed.value.reason


def test_a_receiver_is_trusted_by_its_authority_alone(certificates: Certificates, tls: ssl.SSLContext) -> None:
    """A routing key must not go to whoever answers at the address."""
    with receiving(tls) as receiver:
        assert post(Request(receiver.url, b"{}", {}, trusting(certificates.authority))).status == 202
        for wrong in (None, trusting(certificates.unknown_authority)):
            assert reason(Request(receiver.url, b"{}", {}, wrong)) == "certificate_refused"
        assert len(receiver.posts) == 1


def test_a_certificate_of_another_name_is_refused(certificates: Certificates, tls: ssl.SSLContext) -> None:
    """The authority signs for many."""
    with receiving(tls) as receiver:
        url = receiver.url.replace("127.0.0.1", "127.0.0.2")
        got = reason(Request(url, b"{}", {}, trusting(certificates.authority)))
        assert got in ("certificate_refused", "connection_refused") and receiver.posts == []


@pytest.mark.parametrize("mode", ["hang", "drip"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_no_receiver_holds_a_thread_for_longer_than_allowed(
    mode: str, encrypted: bool, certificates: Certificates, tls: ssl.SSLContext
) -> None:
    """A byte every now and then satisfies each time-out of a socket; the time of all of it is over all the same."""
    with receiving(tls if encrypted else None) as receiver:
        receiver.mode = mode
        assert reason(Request(receiver.url, b"{}", {}, trusting(certificates.authority))) == "timeout"


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_body_that_never_ends_is_not_waited_for(
    encrypted: bool, certificates: Certificates, tls: ssl.SSLContext
) -> None:
    """The status is the answer; a receiver that goes on talking would hold up every other page for hours."""
    with receiving(tls if encrypted else None) as receiver:
        receiver.mode = "trickle"
        request, answers = Request(receiver.url, b"{}", {}, trusting(certificates.authority)), list[Answer]()
        sending = threading.Thread(target=lambda: answers.append(post(request, total_seconds=1.0)), daemon=True)
        sending.start()
        sending.join(60.0)  # the trickle goes on for as long as the receiver lives
        assert [answer.status for answer in answers] == [200]


def test_a_server_that_speaks_no_tls_is_named_as_one() -> None:
    """https:// for http:// is the commonest slip."""
    with receiving() as receiver:
        assert reason(Request(receiver.url.replace("http:", "https:"), b"{}", {})) in ("tls_failed", "timeout")
        assert receiver.posts == []
