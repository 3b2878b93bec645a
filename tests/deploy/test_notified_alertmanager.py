"""Notifications to the real Alertmanager: alerts appear, stay, change, end, and come back after it forgot them."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.adapters.notify.integrations import integrations
from monitor.config import load_settings
from monitor.core.records import IncidentKind, Level
from monitor.sending import Sender
from tests.agent.receivers import wait_until
from tests.deploy.servers import required
from tests.noticing import LOG, step
from tests.test_mailbox import Desk, desk


class Alertmanager:
    """The real program on a loopback port, with a memory that ends with it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        program = required("prometheus-alertmanager", "alertmanager", install="package prometheus-alertmanager")
        config = folder / "alertmanager.yml"
        config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        with (folder / "alertmanager.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, f"--config.file={config}", f"--storage.path={folder / 'alerts'}", "--cluster.listen-address=",
                 f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(lambda: self._answers("/-/ready"), "Alertmanager")

    def _answers(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read() if response.status == 200 else b""
        except OSError:
            return b""
        finally:
            connection.close()

    def firing(self) -> list[tuple[str, str, str]]:
        """Name, severity and group of each alert that has not ended."""
        alerts = json.loads(self._answers("/api/v2/alerts?active=true") or b"[]")
        labels = [alert["labels"] for alert in alerts]
        return sorted((one["alertname"], one["severity"], one["group"]) for one in labels)

    def summaries(self) -> list[str]:
        alerts = json.loads(self._answers("/api/v2/alerts?active=true") or b"[]")
        return [alert["annotations"]["summary"] for alert in alerts]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def told(folder: Path) -> Iterator[tuple[Alertmanager, Desk, Sender]]:
    """Alertmanager, a state, and a sender between them that sends again every second."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    manager = Alertmanager(folder, port)
    keys: dict[str, object] = {
        "notify.alertmanager.urls": [f"http://127.0.0.1:{port}"],
        "notify.alertmanager.resend": "1s",
    }
    to = Sender(integrations(load_settings(None, {}, keys).notify), LOG)
    to.start()
    try:
        with desk(folder, to) as opened:
            yield manager, opened, to
    finally:
        to.close()
        manager.stop()


PAGE = ("WervaneAccentRegression", "page", "scottish")
GAP = ("WervaneDisparity", "page", "indian")


def test_an_incident_is_one_alert_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    """Named anew it is still the same alert; its end is told, not waited for."""
    with told(tmp_path) as (manager, opened, to):
        opened.tell(step())
        wait_until(lambda: manager.firing() == [PAGE], "the alert")
        opened.tell(step(state="updated", slice_="accent=scottish&site=x", summary="named anew"))
        wait_until(lambda: any("named anew" in summary for summary in manager.summaries()), "its new name")
        assert manager.firing() == [PAGE]
        opened.tell(step(state="resolved"))
        wait_until(lambda: manager.firing() == [], "its end")
        assert to.drain(60.0, threading.Event()) == 0


def test_a_ticket_that_becomes_a_page_changes_its_severity(tmp_path: Path) -> None:
    """Routes go by the label, so the ticket has to go as the page comes."""
    with told(tmp_path) as (manager, opened, _):
        opened.tell(step(slice_="accent=indian", kind=IncidentKind.DISPARITY, level=Level.TICKET))
        wait_until(lambda: manager.firing() == [("WervaneStandingGap", "ticket", "indian")], "the ticket")
        opened.tell(step(slice_="accent=indian", kind=IncidentKind.DISPARITY))
        wait_until(lambda: manager.firing() == [GAP], "the page alone")


def test_what_alertmanager_forgot_it_is_told_again(tmp_path: Path) -> None:
    """It keeps alerts in memory: after its restart ours are back."""
    with told(tmp_path) as (manager, opened, _):
        opened.tell(step())
        wait_until(lambda: manager.firing() == [PAGE], "the alert")
        manager.stop()
        again = Alertmanager(tmp_path, manager.port)
        try:
            wait_until(lambda: again.firing() == [PAGE], "the alert, after a restart")
        finally:
            again.stop()


@pytest.mark.slow
def test_an_alert_stays_for_as_long_as_it_is_sent_and_no_longer(tmp_path: Path) -> None:
    """Sent each second, it lives for ten: it is there after twenty, and ends when nobody is left to send it."""
    with told(tmp_path) as (manager, opened, to):
        opened.tell(step())
        wait_until(lambda: manager.firing() == [PAGE], "the alert")
        ends = time.monotonic() + 20.0
        wait_until(lambda: manager.firing() != [PAGE] or time.monotonic() > ends, "twenty seconds")
        assert manager.firing() == [PAGE]
        to.close()
        wait_until(lambda: manager.firing() == [], "its expiry")
