"""`wervane run` on Kafka, alone or its stages apart: totals and incidents as over the same lines in files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from monitor.analysis import simulate
from monitor.core.records import Kind
from monitor.generating import days_to_move, moved
from tests.agent.processes import slices
from tests.kafka.broker import Broker
from tests.kafka.producing import REFERENCES, TRANSCRIPTS, Sent, in_order, traffic_of
from tests.kafka.running import DECIDE, ROUTE_SCORE, Fleet, has_partitions, make_topics, producing
from tests.traffic import Traffic, generate, recount

DAY = 86_400.0
LATENESS_SECONDS = 3_600.0
"""`labels.lateness`: what has come is decided upon up to so long ago."""


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(3_000, starts_at=time.time() - 20 * DAY)


def test_one_process_counts_what_was_produced(broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """Two topics that are not co-partitioned, read at one's own pace: the totals are those of the lines."""
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        producer.send(in_order(traffic))
        agent = fleet.add()
        agent.start()
        fleet.wait_until_seen(agent, traffic)
        agent.stop()
    assert slices(agent.state) == recount(traffic)


@pytest.mark.parametrize("stream", ["short", pytest.param("demo", marks=pytest.mark.slow)])
def test_three_agents_and_a_decider_arrive_where_a_replay_does(stream: str, broker: Broker, tmp_path: Path) -> None:
    """What was tried on files is what runs on Kafka: the same table and the same incidents, at the same hours."""
    sent, sections = short() if stream == "short" else demo()
    replayed = replay(tmp_path / "replay", traffic_of(sent), sections)
    newest_at = _instant(str(json.loads((replayed / "summary.json").read_text())["last_event_at"]))
    topics = make_topics(broker, transcripts=5, references=3, pairs=12, outcomes=4)
    with Fleet(broker, tmp_path, topics) as fleet, producing(fleet) as producer:
        agents = [fleet.add(ROUTE_SCORE, **sections) for _ in range(3)]
        decider = fleet.add(DECIDE, **sections)
        for agent in fleet.agents:
            agent.start()
        for agent in agents:
            fleet.wait_for(partial(has_partitions, agent), "a share of the partitions")
        producer.send(sent)

        def decided() -> bool:
            return decider.now.metrics()["wervane_event_watermark_timestamp_seconds"] >= newest_at - LATENESS_SECONDS

        fleet.wait_for(decided, "the last hour", 240.0)
        for agent in fleet.agents:
            agent.stop()
    assert table(decider.state) == table(replayed)
    wanted = [line for line in incidents(replayed) if _instant(str(line["at"])) < newest_at - LATENESS_SECONDS]
    assert incidents(decider.state) == wanted
    assert any(line["level"] == "page" for line in wanted), "a stream without incidents would show nothing"


Sections = Mapping[str, Mapping[str, object]]


def short() -> tuple[list[Sent], Sections]:
    """Two weeks, thinly; from the tenth day on every second word of one accent is misheard."""
    starts_at = time.time() - 20 * DAY
    traffic = generate(3_000, starts_at=starts_at, days=14.0)
    transcripts = [worsened(line, "england", starts_at + 9.5 * DAY) for line in traffic.transcripts]
    return in_order(Traffic(transcripts, traffic.references)), {"labels": {"maturity": "48h"}}


def worsened(line: str, accent: str, from_at: float) -> str:
    fields = json.loads(line) if line.endswith("}") else {}
    if fields.get("accent") != accent or _instant(fields["ts"]) < from_at:
        return line
    fields["text"] = " ".join("zulu" if at % 2 else word for at, word in enumerate(fields["text"].split()))
    return json.dumps(fields)


def demo() -> tuple[list[Sent], Sections]:
    """The demo's two weeks, moved to end yesterday. Its tombstone is left out: no line of a file says it."""
    names = {Kind.TRANSCRIPT: TRANSCRIPTS, Kind.REFERENCE: REFERENCES}
    shift = days_to_move(time.time())
    sent = [
        (names[message.kind], moved(message.value, shift).decode())
        for message in simulate.traffic(seed=1)
        if message.value is not None
    ]
    settings = simulate.demo_settings()
    return sent, {name: section for name, section in settings.items() if isinstance(section, Mapping)}


def replay(folder: Path, traffic: Traffic, sections: Sections) -> Path:
    """`wervane replay` of these lines in files."""
    transcripts, references = traffic.write(folder / "in")
    config = folder / "wervane.yaml"
    config.write_text(json.dumps(sections))
    command = [sys.executable, "-m", "monitor", "replay", "--config", str(config), "--out", str(folder / "out")]
    command += ["--transcripts", str(transcripts), "--references", str(references)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "out"


def table(folder: Path) -> list[Sequence[str]]:
    """slices.csv up to the column of clusters: what follows depends on the last look, which a replay takes later."""
    with (folder / "slices.csv").open() as file:
        return [row[:13] for row in csv.reader(file)]


def incidents(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "incidents.jsonl").read_text().splitlines()]


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
