"""A real Prometheus scrapes a real agent over mutual TLS with a password, and is refused with a wrong one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.processes import growing, running
from tests.deploy.servers import required
from tests.kafka.certificates import Certificates, make_certificates
from tests.rules.alertmanagers import asked, wait_for
from tests.rules.prometheuses import prometheus

PASSWORD = "correct horse"


def job(name: str, agent: str, made: Certificates, client: Path, key: Path, password: str) -> dict[str, object]:
    tls = {"ca_file": str(made.authority), "cert_file": str(client), "key_file": str(key)}
    return {
        "job_name": name, "scheme": "https", "tls_config": tls, "static_configs": [{"targets": [agent]}],
        "basic_auth": {"username": "prometheus", "password": password},
    }  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    required("openssl", install="package openssl")
    return make_certificates(tmp_path / "certificates")


def test_prometheus_scrapes_over_mutual_tls_with_a_password(made: Certificates, tmp_path: Path) -> None:
    """The page tells operators to set it up so: certificate, hashed password, and Prometheus' own words for both."""
    hashed = subprocess.run(
        [sys.executable, "-m", "monitor", "hash-password"],
        input=PASSWORD.encode(), capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    (tmp_path / "password").write_bytes(hashed)
    serve = {
        "port": 0,
        "tls": {
            "cert_file": str(made.server.certificate), "key_file": str(made.server.key),
            "client_ca_file": str(made.authority),
        },
        "auth": {"username": "prometheus", "password_file": str(tmp_path / "password")},
    }  # fmt: skip
    with running(growing(tmp_path, serve=serve)) as agent:
        (started,) = agent.wait_for(lambda: agent.events("started"))
        assert str(started["address"]).startswith("https://")
        where = str(started["address"]).removeprefix("https://").rstrip("/")
        jobs = [
            job("right", where, made, made.client.certificate, made.client.key, PASSWORD),
            job("wrong-password", where, made, made.client.certificate, made.client.key, "guess"),
            job("stranger", where, made, made.unknown_client.certificate, made.unknown_client.key, PASSWORD),
        ]
        config = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
        with prometheus(tmp_path, config) as address:

            def said() -> dict[str, tuple[str, str]]:
                found = asked(f"http://{address}/api/v1/targets")
                assert isinstance(found, dict)
                targets = found["data"]["activeTargets"]
                return {each["labels"]["job"]: (each["health"], each["lastError"]) for each in targets}

            def are_told_apart() -> bool:
                return sorted(health for health, _ in said().values()) == ["down", "down", "up"]

            wait_for(are_told_apart, lambda: json.dumps(said()))
            seen = said()
        assert agent.events("answer_failed") == []
    assert seen["right"][0] == "up"
    assert "401" in seen["wrong-password"][1]
    assert "tls" in seen["stranger"][1]
