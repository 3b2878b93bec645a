"""T9 and what cannot go on: batches that nobody can read are skipped and told; bad releases and wrong keys end it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.kafka import poison_batches
from tests.kafka.broker import Broker
from tests.kafka.producing import in_order, parts, traffic_of
from tests.kafka.running import (
    DECIDE,
    ROUTE_SCORE,
    Agent,
    Both,
    Fleet,
    coverage_incidents,
    make_topics,
    problems_told,
    producing,
    told_losses,
)
from tests.traffic import Traffic, generate


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return generate(1_500, starts_at=time.time() - 20 * 86_400.0)


# -------------------------------------------------------------------------------------------------------------- poison
def test_a_batch_that_nobody_can_read_is_skipped_and_told(broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """One broken producer must not stop everything behind it, nor pass in silence."""
    first, second = parts(in_order(traffic), 2)
    with Both(broker, tmp_path) as fleet, producing(fleet) as producer:
        topic = fleet.topics.transcripts[0]
        fleet.start()
        producer.send(first)
        for agent in (fleet.whole, fleet.decider):
            fleet.wait_until_seen(agent, traffic_of(first))
        records = [poison_batches.Record(line.encode()) for line in traffic.transcripts[:7]]
        spoiled = poison_batches.PASSABLE["gzip with garbage behind it"](records)
        offset = poison_batches.append(broker, topic, 2, spoiled)
        producer.send(second)
        for agent in (fleet.whole, fleet.decider):
            fleet.wait_until_seen(agent, traffic)
        for agent in (fleet.whole, fleet.scorer):
            assert problems_told(agent) == {(f"{topic}-2", offset, 7)}
        for agent in (fleet.whole, fleet.decider):  # it hears of losses with the next marks
            fleet.wait_for(partial(told_losses, agent, 1), "the loss in an incident")
        fleet.end(traffic)
    for agent in (fleet.whole, fleet.decider):
        assert [line["evidence"] for line in coverage_incidents(agent)][:1] == [7]


# ------------------------------------------------------------------------------------------------------------- rejected
@pytest.mark.parametrize("stages", ["", ROUTE_SCORE], ids=["whole", "apart"])
def test_half_of_the_messages_rejected_ends_it_without_committing(
    stages: str, broker: Broker, traffic: Traffic, tmp_path: Path
) -> None:
    """A bad producer release must not be drained into the dead letters; started again, it says the same again."""
    broken = [line.replace('"schema": 1', '"schema": 2') for line in traffic.transcripts[:600]]
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet, producing(fleet) as producer:
        producer.send([("transcripts", line) for line in broken])
        agent = fleet.add(stages)
        for _ in range(2):
            last = ended(agent)
            assert "messages were rejected" in last and "without committing" in last and "wervane schema" in last
            assert fleet.committed(agent.groups[:1]) == 0
        if stages:
            assert fleet.end_of(fleet.topics.dead_letters[0], 0) == 0, "dead letters of what was not committed"


def ended(agent: Agent) -> str:
    """Start it; it must end by itself with exit code 4. What it said last."""
    running = agent.start()
    code = running.process.wait(timeout=60)
    agent.running = None
    assert code == 4, running.stderr()[-4000:]
    assert "Traceback" not in running.stderr()
    return running.stderr().splitlines()[-1]


# ------------------------------------------------------------------------------------------------------------ made anew
@pytest.mark.parametrize("stages", ["", ROUTE_SCORE], ids=["whole", "apart"])
def test_a_topic_made_anew_is_not_taken_for_the_old_one(
    stages: str, broker: Broker, traffic: Traffic, tmp_path: Path
) -> None:
    """Its positions mean other records: reading on from them would skip or repeat without a word."""
    with Fleet(broker, tmp_path, make_topics(broker)) as fleet:
        topic, partitions = fleet.topics.transcripts
        with producing(fleet) as producer:
            producer.send(in_order(traffic))
        agent = fleet.add(stages)
        agent.start()
        fleet.wait_for(lambda: fleet.committed(agent.groups[:1]) > 100, "something durable")
        agent.stop()
        broker.delete_topic(topic)
        broker.create_topic(topic, partitions)
        with producing(fleet) as producer:
            producer.send(in_order(traffic))
        last = ended(agent)
        assert topic in last and "made again" in last


@pytest.mark.parametrize("stages", ["", ROUTE_SCORE, DECIDE], ids=["whole", "route-score", "decide"])
def test_a_topic_that_is_not_there_is_named(stages: str, broker: Broker, tmp_path: Path) -> None:
    """Nothing is created by accident, with the broker's default of partitions, and nothing is waited for in silence."""
    topics, missing = make_topics(broker), (broker.unique("missing"), 1)
    elsewhere = {
        "": topics._replace(transcripts=missing),
        ROUTE_SCORE: topics._replace(pairs=missing),
        DECIDE: topics._replace(outcomes=missing),
    }[stages]
    with Fleet(broker, tmp_path, elsewhere) as fleet:
        last = ended(fleet.add(stages))
        assert missing[0] in last and "no such topic" in last
    assert missing[0] not in broker.admin.list_topics()


# --------------------------------------------------------------------------------------------------------------- secure
def test_agents_work_over_encrypted_connections(secure_broker: Broker, traffic: Traffic, tmp_path: Path) -> None:
    """With a password, and with a certificate: no transcript goes in the clear, and no secret into a log."""
    access = secure_broker.access
    with (
        Fleet(secure_broker, tmp_path, make_topics(secure_broker)) as fleet,
        producing(fleet) as producer,
    ):
        producer.send(in_order(traffic))
        whole = fleet.add(kafka=by_certificate(secure_broker))
        scorer = fleet.add(ROUTE_SCORE, kafka=by_password(secure_broker, tmp_path))
        decider = fleet.add(DECIDE, kafka=by_password(secure_broker, tmp_path))
        for agent in fleet.agents:
            agent.start()
        for agent in (whole, decider):
            fleet.wait_until_seen(agent, traffic)
        said = [agent.stop().stderr() for agent in (whole, scorer, decider)]
    assert access.password not in "".join(said)


@pytest.mark.parametrize("stages", ["", ROUTE_SCORE, DECIDE], ids=["whole", "route-score", "decide"])
@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_wrong_keys_end_it_in_one_sentence(wrong: str, stages: str, secure_broker: Broker, tmp_path: Path) -> None:
    """Whoever deploys it at night reads why, at once, rather than a loop of connections that are closed."""
    known = secure_broker.access.certificates
    kafka = (
        by_password(secure_broker, tmp_path, password="wrong-canary")
        if wrong == "password"
        else by_password(secure_broker, tmp_path, ca_file=known.unknown_authority)
    )
    with Fleet(secure_broker, tmp_path, make_topics(secure_broker)) as fleet:
        agent = fleet.add(stages, kafka=kafka)
        began = time.monotonic()
        last = ended(agent)
        assert time.monotonic() - began < 15.0
    told = {"password": "kafka.security.password_file", "authority": "kafka.security.ca_file"}[wrong]
    assert last.startswith("wervane: ") and told in last
    assert "wrong-canary" not in (agent.config.parent / "stderr.log").read_text()


def by_password(
    broker: Broker, folder: Path, *, password: str = "", ca_file: Path | None = None
) -> Mapping[str, object]:
    """SASL_SSL."""
    access = broker.access
    files = {"username": folder / "user", "password": folder / "password"}
    files["username"].write_text(access.username)
    files["password"].write_text(password or access.password)
    security = {
        "protocol": "SASL_SSL",
        "mechanism": "SCRAM-SHA-512",
        "ca_file": str(ca_file or access.certificates.authority),
        **{f"{name}_file": str(path) for name, path in files.items()},
    }
    return {"bootstrap_servers": [access.sasl_ssl], "allow_plaintext": False, "security": security}


def by_certificate(broker: Broker) -> Mapping[str, object]:
    """Mutual TLS."""
    known = broker.access.certificates
    security = {
        "protocol": "SSL",
        "ca_file": str(known.authority),
        "cert_file": str(known.client.certificate),
        "key_file": str(known.client.key),
    }
    return {"bootstrap_servers": [broker.access.ssl], "allow_plaintext": False, "security": security}
