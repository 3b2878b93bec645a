"""deploy/compose.yaml, played by the real programs with the files, commands and addresses that are written in it.

Not here: Grafana, which no package registry has, and the containers themselves. Kafka starts by the code of its image
(KafkaDockerWrapper turns the environment into settings and formats the disk), its scripts are stood in for.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.deploy.composed import DEPLOY, ROOT, Service, interpolated, read
from tests.deploy.servers import Server, Stage, refused, required, staged
from tests.kafka.installation import NotInstalled, class_archive, class_path, java

COMPOSED = read()
HURRIED = {"DEMO_SPEED": "100000"}
"""Two weeks in 12 seconds; the fast tests need the first days of them only."""

ALERTMANAGER = "package prometheus-alertmanager"

_SCRIPTS = {
    "kafka-topics.sh": """#!{python}
import sys
from kafka import KafkaAdminClient
words = iter(sys.argv[1:])
given = {{word: next(words) for word in words if word not in ("--create", "--if-not-exists")}}
admin = KafkaAdminClient(bootstrap_servers=given["--bootstrap-server"])
admin.create_topics({{given["--topic"]: {{"num_partitions": int(given["--partitions"]), "replication_factor": 1}}}})
admin.close()
""",
    "kafka-broker-api-versions.sh": """#!{python}
import socket, struct, sys
assert sys.argv[1] == "--bootstrap-server"
host, port = sys.argv[2].split(":")
request = struct.pack(">hhih", 18, 0, 1, -1)  # ApiVersions, version 0
with socket.create_connection((host, int(port)), timeout=5) as broker:
    broker.sendall(struct.pack(">i", len(request)) + request)
    length, number, error = struct.unpack(">iih", broker.recv(10, socket.MSG_WAITALL))
sys.exit(error)
""",
}
"""Kafka's scripts that compose.yaml calls, as far as it does; the real ones are in no package registry."""


class Played:
    """The services of compose.yaml on a stage: what they mount and keep lies elsewhere than in their containers."""

    def __init__(self, stage: Stage, folder: Path, variables: Mapping[str, str]) -> None:
        """`variables`: what `docker compose` would find in its environment."""
        self.stage = stage
        self._variables = variables
        self._kept = folder / "volumes"
        self._scripts = folder / "scripts"
        self._scripts.mkdir()
        for name, script in _SCRIPTS.items():
            (self._scripts / name).write_text(script.format(python=sys.executable))
            (self._scripts / name).chmod(0o755)
        self.servers: dict[str, Server] = {}

    def start(self, name: str) -> Server:
        """Start what serves and wait until its own health check passes."""
        service = COMPOSED.services[name]
        server = self.stage.start(name, self._command(name, service), self._environment(service))
        self.servers[name] = server
        check = self._here(service, service.healthcheck.test[1:] if service.healthcheck else ["true"])
        self.stage.wait_for(lambda: self.stage.run(check).returncode == 0, server, f"{name} never got healthy")
        return server

    def run(self, name: str) -> Server:
        """Start what ends by itself; for as long as it takes."""
        service = COMPOSED.services[name]
        return self.stage.start(name, self._command(name, service), self._environment(service))

    def finished(self, name: str) -> int:
        """Run it to its end: the exit code."""
        return self.run(name).process.wait(timeout=60)

    # ---------------------------------------------------------------------------------------------------------- private
    def _command(self, name: str, service: Service) -> list[str]:
        given = self._here(service, service.command)
        match service.image.partition(":")[0]:
            case "wervane":
                return [sys.executable, "-m", "monitor", *given]
            case "prom/prometheus":
                return [required("prometheus", install="package prometheus"), *given]
            case "prom/alertmanager":
                return [required("prometheus-alertmanager", "alertmanager", install=ALERTMANAGER), *given]
            case "apache/kafka" if service.command:
                return given
            case "apache/kafka":
                return self._broker(name, service)
        raise AssertionError(service.image)

    def _broker(self, name: str, service: Service) -> list[str]:
        """What the image's start does, with its settings folder empty at first as the tmpfs of compose.yaml is."""
        folders = {option: self._kept / name / option for option in ("default", "mounted", "final")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        run = [java(), *shlex.split(service.environment["KAFKA_HEAP_OPTS"]), "-Xshare:auto", "-XX:+UseSerialGC"]
        run += [f"-XX:SharedArchiveFile={class_archive()}", "-cp", class_path()]
        setup = [f"--{option}-configs-dir={folder}" for option, folder in folders.items()]
        first = [*run, "kafka.docker.KafkaDockerWrapper", "setup", *setup]
        second = [*run, "kafka.Kafka", str(folders["final"] / "server.properties")]
        return ["sh", "-c", f"{shlex.join(first)} && exec {shlex.join(second)}"]

    def _environment(self, service: Service) -> dict[str, str]:
        named = dict(zip(service.environment, self._here(service, service.environment.values()), strict=True))
        if service.image.startswith("wervane:"):
            named["PYTHONPATH"] = str(ROOT)
            for mount in service.volumes:
                if mount.type == "volume":
                    named["WERVANE_STATE__PATH"] = str(self._kept / mount.source)
        return named

    def _here(self, service: Service, texts: Iterable[str]) -> list[str]:
        """Paths of the container as those of this machine."""
        places = {"/opt/kafka/bin": self._scripts}
        for mount in service.volumes:
            places[mount.target] = mount.path if mount.type == "bind" else self._kept / mount.source
        paths = re.compile(rf"(?<![\w/.-])({'|'.join(map(re.escape, places))})(?![\w.-])")
        here = [paths.sub(lambda found: str(places[found[0]]), interpolated(text, self._variables)) for text in texts]
        return [sys.executable if text == "python" else text for text in here]


@contextmanager
def play(folder: Path, variables: Mapping[str, str]) -> Iterator[Played]:
    """All of it, in the order of depends_on."""
    for name, install in (("promtool", "package prometheus"), ("amtool", ALERTMANAGER)):
        required(name, install=install)
    try:
        java(), class_path()
    except NotInstalled as missing:
        refused(str(missing))
    with staged(folder, list(COMPOSED.services)) as stage:
        composed = Played(stage, folder, variables)
        composed.start("kafka")
        for name in ("input-topics", "topics"):
            assert composed.finished(name) == 0, (folder / f"{name}.log").read_text()
        composed.start("agent")
        composed.start("alertmanager")
        composed.start("prometheus")
        composed.servers["traffic"] = composed.run("traffic")
        yield composed


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The whole file, with traffic in a hurry."""
    with play(tmp_path_factory.mktemp("compose"), HURRIED) as composed:
        yield composed


def test_the_agent_reads_the_traffic(played: Played) -> None:
    """From the topics of one service through the broker of another into the status page of a third."""

    def read_so_far() -> int:
        slices = played.stage.ask("http://agent:9464/api/v1/slices").json()
        assert isinstance(slices, dict)
        return sum(row["transcripts"] for row in slices["slices"] if row["slice"] == "all")

    agent = played.servers["agent"]
    assert played.stage.wait_for(lambda: read_so_far() > 1000, agent, "the agent read nothing")


def query(played: Played, expression: str) -> dict[str, float]:
    """What Prometheus answers, by job."""
    answer = played.stage.ask(f"http://prometheus:9090/api/v1/query?query={quote(expression)}").json()
    assert isinstance(answer, dict) and answer["status"] == "success"
    return {series["metric"].get("job", ""): float(series["value"][1]) for series in answer["data"]["result"]}


def test_prometheus_scrapes_every_target(played: Played) -> None:
    """`up` is 0 for a name, port, path or format that is wrong."""
    prometheus = played.servers["prometheus"]
    wanted = {"wervane": 1.0, "prometheus": 1.0, "alertmanager": 1.0}
    assert played.stage.wait_for(lambda: query(played, "up") == wanted, prometheus, "not all targets came up")
    seen = played.stage.wait_for(
        lambda: query(played, "sum by (job) (wervane_slice_traffic_utterances_total)"), prometheus, "no slices"
    )
    assert set(seen) == {"wervane"}


def test_what_the_agent_serves_is_what_a_current_prometheus_takes(played: Played) -> None:
    """Prometheus 3 refuses a scrape without a content type that it knows; 2.42 here would not have minded."""
    answer = played.stage.ask("http://agent:9464/metrics")
    assert answer.status == 200
    assert answer.content_type.split(";")[0] in ("text/plain", "application/openmetrics-text")
    assert "version=" in answer.content_type


def test_prometheus_knows_the_alertmanager(played: Played) -> None:
    """An alert that cannot be delivered is known to nobody."""

    def found() -> list[object]:
        answer = played.stage.ask("http://prometheus:9090/api/v1/alertmanagers").json()
        assert isinstance(answer, dict)
        alertmanagers: list[object] = answer["data"]["activeAlertmanagers"]
        return alertmanagers

    (only,) = played.stage.wait_for(found, played.servers["prometheus"], "it was not discovered")
    assert only == {"url": "http://alertmanager:9093/api/v2/alerts"}


def test_the_alertmanager_has_the_route_that_the_file_says(played: Played) -> None:
    """With another file it would run, too."""
    status = played.stage.ask("http://alertmanager:9093/api/v2/status").json()
    assert isinstance(status, dict)
    assert "receiver: nobody" in status["config"]["original"]
    assert status["cluster"]["status"] == "disabled", "it is alone"


def test_topics_are_as_the_agent_wants_them(played: Played) -> None:
    """`topics check` is what an operator asks first."""
    command = [sys.executable, "-m", "monitor", "topics", "check", "--config", str(DEPLOY / "wervane.yaml")]
    done = played.stage.run(["env", f"PYTHONPATH={ROOT}", *command])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_incident_comes_and_is_the_one_of_the_demo(tmp_path: Path) -> None:
    """What all of it is there for: one page, for the accent at the site, while the traffic still runs."""
    with play(tmp_path, {"DEMO_SPEED": "20000"}) as composed:
        traffic, agent = composed.servers["traffic"], composed.servers["agent"]

        def pages() -> list[str]:
            document = composed.stage.ask("http://agent:9464/api/v1/incidents").json()
            assert isinstance(document, dict)
            return [" ".join(each["slices"]) for each in document["incidents"] if each["level"] == "page"]

        composed.stage.wait_for(pages, traffic, "no page before the traffic ended", patience_seconds=180.0)
        assert traffic.process.wait(timeout=180) == 0
        named = ["accent=scottish&site=st-brigid"]
        composed.stage.wait_for(lambda: pages() == named, agent, "the incident has another name")
