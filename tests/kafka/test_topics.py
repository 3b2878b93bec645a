"""Topics on a real broker: what `wervane topics create` makes is fit, and `check` tells what would lose records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourceType,
)

from monitor.adapters.kafka.connection import read_connection
from monitor.adapters.kafka.port import LogRefused, LogUnreachable
from monitor.adapters.kafka.topics import Finding, Level, Own, Report, check, create
from monitor.config import Settings
from tests.kafka.broker import Broker
from tests.kafka.builders import settings_for, with_password

DAY_MS = 86_400_000


def _settings(broker: Broker, **more: object) -> Settings:
    """Topics that no other test has, none of them there yet."""
    names = {f"kafka__topics__{own}": broker.unique(own.replace("_", "-")) for own in Own}
    return settings_for(broker.bootstrap, **(names | more))


def _checked(settings: Settings, own: Own | None = None, partitions: int | None = None) -> Report:
    chosen = {own} if own else set(Own)
    return check(read_connection(settings.kafka), settings, partitions=partitions, own=chosen)


def _told(report: Report) -> set[tuple[str, Level]]:
    """Replication apart: the tests' cluster has one broker."""
    return {(finding.setting, finding.level) for finding in report.findings if finding.setting != "replication"}


# -------------------------------------------------------------------------------------------------------------- create
def test_what_create_makes_is_fit(broker: Broker) -> None:
    """Two lists of wishes, one to make topics and one to check them, would drift apart."""
    settings = _settings(broker)
    made = create(read_connection(settings.kafka), settings)
    assert made.fit
    assert set(made.created) == _names(settings)
    checked = _checked(settings, partitions=12)
    assert (checked.fit, _told(checked), checked.missing) == (True, set(), ())


def test_retention_follows_from_the_time_that_references_are_waited_for(broker: Broker) -> None:
    """A transcript whose record is gone before its reference comes is counted nowhere after a lost state."""
    settings = _settings(broker, labels__ttl="10d")
    create(read_connection(settings.kafka), settings, partitions=5)
    topics = settings.kafka.topics
    pairs, reviews = _configuration(broker, topics.pairs), _configuration(broker, topics.reviews)
    assert (pairs["retention.ms"], pairs["cleanup.policy"]) == (str(17 * DAY_MS), "delete")
    assert (reviews["retention.ms"], reviews["cleanup.policy"]) == (str(10 * DAY_MS), "compact,delete")
    described = broker.admin.describe_topics(list(_names(settings)))
    counts = {topic["name"]: len(topic["partitions"]) for topic in described}
    assert counts == {topics.pairs: 5, topics.outcomes: 5, topics.reviews: 1, topics.dead_letters: 1}


def test_create_leaves_what_exists_as_it_is_and_tells_what_is_wrong_with_it(broker: Broker) -> None:
    """An operator's topic with data in it is no place for us to change settings."""
    settings = _settings(broker)
    pairs = settings.kafka.topics.pairs
    broker.create_topic(pairs, 3, {"retention.ms": DAY_MS})
    report = create(read_connection(settings.kafka), settings)
    assert (pairs in report.created, report.present, report.fit) == (False, (pairs,), False)
    assert _configuration(broker, pairs)["retention.ms"] == str(DAY_MS)
    assert ("partitions", Level.ADVICE) in _told(report)
    assert _told(report) >= {("retention.ms", Level.PROBLEM), ("message.timestamp.type", Level.PROBLEM)}


def test_create_twice_changes_nothing(broker: Broker) -> None:
    """Agents are deployed again and again, each time with the same job before them."""
    settings = _settings(broker)
    create(read_connection(settings.kafka), settings)
    assert create(read_connection(settings.kafka), settings).created == ()


def test_an_embedded_agent_needs_only_some_of_the_topics(broker: Broker) -> None:
    """Whoever runs one process is not asked for topics that nobody reads."""
    settings = _settings(broker)
    report = create(read_connection(settings.kafka), settings, own={Own.DEAD_LETTERS})
    assert report.created == (settings.kafka.topics.dead_letters,)
    assert _checked(settings, Own.DEAD_LETTERS).fit


def test_create_makes_no_topic_of_the_customers(broker: Broker) -> None:
    """A misspelt name would become an empty topic, and an agent that is content with it."""
    settings = _with_inputs(broker)
    report = create(read_connection(settings.kafka), settings)
    assert set(report.missing) == {*settings.input.transcripts, *settings.input.references}
    assert not report.fit
    assert set(broker.admin.list_topics()).isdisjoint(report.missing)


# --------------------------------------------------------------------------------------------------------------- check
def test_check_makes_nothing(broker: Broker) -> None:
    """It is run where nobody has said that topics may be made."""
    settings = _settings(broker)
    report = _checked(settings)
    assert set(report.missing) == _names(settings)
    assert {finding.setting for finding in report.findings} == {"topic"}
    assert _names(settings).isdisjoint(broker.admin.list_topics())


DEVIATIONS: list[tuple[Own, Mapping[str, str | int], Level]] = [
    (Own.PAIRS, {"retention.ms": 30 * DAY_MS}, Level.PROBLEM),
    (Own.PAIRS, {"retention.ms": -1}, Level.PROBLEM),
    (Own.PAIRS, {"retention.ms": 365 * DAY_MS}, Level.ADVICE),
    (Own.PAIRS, {"retention.bytes": 1 << 30}, Level.PROBLEM),
    (Own.PAIRS, {"cleanup.policy": "compact"}, Level.PROBLEM),
    (Own.PAIRS, {"cleanup.policy": "compact,delete"}, Level.PROBLEM),
    (Own.PAIRS, {"message.timestamp.type": "CreateTime"}, Level.PROBLEM),
    (Own.PAIRS, {"max.message.bytes": 1 << 20}, Level.PROBLEM),
    (Own.PAIRS, {"unclean.leader.election.enable": "true"}, Level.PROBLEM),
    (Own.PAIRS, {"min.insync.replicas": 2}, Level.PROBLEM),
    (Own.PAIRS, {"segment.ms": 7 * DAY_MS}, Level.ADVICE),
    (Own.OUTCOMES, {"retention.ms": 100 * DAY_MS}, Level.ADVICE),
    (Own.OUTCOMES, {"retention.ms": 7 * DAY_MS}, Level.PROBLEM),
    (Own.OUTCOMES, {"cleanup.policy": "compact"}, Level.PROBLEM),
    (Own.OUTCOMES, {"message.timestamp.type": "CreateTime"}, Level.PROBLEM),
    (Own.REVIEWS, {"cleanup.policy": "delete"}, Level.PROBLEM),
    (Own.REVIEWS, {"retention.ms": -1}, Level.PROBLEM),
    (Own.REVIEWS, {"retention.ms": DAY_MS}, Level.ADVICE),
    (Own.REVIEWS, {"max.compaction.lag.ms": 30 * DAY_MS}, Level.ADVICE),
    (Own.DEAD_LETTERS, {"retention.ms": DAY_MS}, Level.ADVICE),
    (Own.DEAD_LETTERS, {"cleanup.policy": "compact"}, Level.PROBLEM),
]


def test_every_deviation_is_told_alone_and_by_how_bad_it_is(broker: Broker) -> None:
    """One topic of each kind, made fit, then broken in one way after the other."""
    settings = _settings(broker)
    create(read_connection(settings.kafka), settings, partitions=1)
    for own, config, level in DEVIATIONS:
        name = getattr(settings.kafka.topics, own)
        fit = {key: _configuration(broker, name)[key] for key in config}
        broker.configure_topic(name, config)
        report = _checked(settings, own)
        assert _told(report) == {(setting, level) for setting in config}, (own, config)
        assert report.fit is (level is Level.ADVICE)
        broker.configure_topic(name, fit)
    assert _told(_checked(settings)) == set()


def test_another_number_of_partitions_is_advice(broker: Broker) -> None:
    """More agents than partitions stand idle, which nobody expects; reviews and dead letters do not matter."""
    settings = _settings(broker)
    create(read_connection(settings.kafka), settings, partitions=2)
    assert _told(_checked(settings, partitions=12)) == {("partitions", Level.ADVICE)}
    assert _told(_checked(settings)) == set()


def test_one_replica_is_advice_as_a_single_broker_cannot_do_better(broker: Broker) -> None:
    """On a laptop it is all there is; in production it is the first disk that fails."""
    settings = _settings(broker)
    report = create(read_connection(settings.kafka), settings)
    (finding,) = [each for each in report.findings if each.topic == settings.kafka.topics.pairs]
    assert (finding.setting, finding.got, finding.level) == ("replication", "1", Level.ADVICE)


# -------------------------------------------------------------------------------------------------------------- inputs
def test_a_customers_topic_that_deletes_within_a_week_is_told(broker: Broker) -> None:
    """What is deleted during a long week-end's outage is gone; it is the customer's to decide."""
    settings = _with_inputs(broker)
    transcripts, references = settings.input.transcripts[0], settings.input.references[0]
    broker.create_topic(transcripts, config={"retention.ms": DAY_MS, "retention.bytes": 1 << 30})
    broker.create_topic(references, config={"cleanup.policy": "compact"})
    report = check(read_connection(settings.kafka), settings, own=())
    told = {(finding.topic, finding.setting, finding.level) for finding in report.findings}
    assert told >= {
        (transcripts, "retention.ms", Level.ADVICE),
        (transcripts, "retention.bytes", Level.ADVICE),
        (references, "cleanup.policy", Level.ADVICE),
    }
    assert report.fit


# --------------------------------------------------------------------------------------------------------- permissions
def test_a_configuration_that_we_may_not_read_is_told_as_unchecked(secure_broker: Broker, tmp_path: Path) -> None:
    """kafka-python gives an empty configuration then, which looks like one without faults."""
    settings = _settings(secure_broker)
    create(read_connection(settings.kafka), settings)
    with _only(secure_broker, ACLOperation.DESCRIBE, _topic(settings.kafka.topics.pairs)):
        report = check(with_password(secure_broker, tmp_path), settings, own={Own.PAIRS})
    assert _told(report) == {("permissions", Level.ADVICE)}


def test_a_topic_that_we_may_not_see_is_refused_and_not_missing(secure_broker: Broker, tmp_path: Path) -> None:
    """Told to make it, an operator would find that it is there."""
    settings = _settings(secure_broker)
    create(read_connection(settings.kafka), settings)
    pairs = settings.kafka.topics.pairs
    refused = pytest.raises(LogRefused, match=f"{pairs}: the cluster does not allow this user to see")
    with _only(secure_broker, ACLOperation.WRITE, _topic(pairs), user="somebody else"), refused:
        check(with_password(secure_broker, tmp_path), settings)


def test_a_cluster_that_does_not_let_us_make_topics_is_refused(secure_broker: Broker, tmp_path: Path) -> None:
    """In most companies somebody else makes them; the sentence goes to that person."""
    settings = _settings(secure_broker)
    pairs = settings.kafka.topics.pairs
    cluster = ResourcePattern(ResourceType.CLUSTER, "kafka-cluster", ACLResourcePatternType.LITERAL)
    refused = pytest.raises(LogRefused, match=f"{pairs}: the cluster does not create it")
    with _only(secure_broker, ACLOperation.DESCRIBE, _topic(pairs), cluster), refused:
        create(with_password(secure_broker, tmp_path), settings, own={Own.PAIRS})


def test_a_wrong_password_says_so_here_too(secure_broker: Broker, tmp_path: Path) -> None:
    """`wervane topics check` is what people try first."""
    connection = with_password(secure_broker, tmp_path, password="wrong")
    with pytest.raises(LogRefused, match="refused user or password"):
        check(connection, _settings(secure_broker))


def test_a_cluster_that_is_away_is_unreachable() -> None:
    """A job that makes topics before the cluster is there is to be tried again."""
    settings = settings_for("127.0.0.1:1")
    with pytest.raises(LogUnreachable, match="nobody listens there"):
        check(read_connection(settings.kafka), settings)


# --------------------------------------------------------------------------------------------------------------- words
def test_findings_read_as_sentences_and_as_a_document() -> None:
    """People read the one, pipelines the other, and both say the same."""
    finding = Finding(
        topic="t", setting="retention.ms", got="1 day", want="at least 37 days", level=Level.PROBLEM, why="it is short"
    )
    report = Report(created=("new",), present=("t", "good"), findings=(finding,))
    assert report.lines() == [
        "created: new",
        "problem: t: retention.ms is 1 day, want at least 37 days: it is short",
        "fit: good",
    ]
    document = json.loads(json.dumps(report.document()))
    assert (document["fit"], document["created"], document["missing"]) == (False, ["new"], [])
    assert document["findings"] == [
        {"topic": "t", "setting": "retention.ms", "got": "1 day", "want": "at least 37 days", "level": "problem",
         "why": "it is short"},
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- private
def _names(settings: Settings) -> set[str]:
    return {getattr(settings.kafka.topics, own) for own in Own}


def _with_inputs(broker: Broker) -> Settings:
    return _settings(
        broker,
        input__kind="kafka",
        input__transcripts=[broker.unique("transcripts")],
        input__references=[broker.unique("references")],
    )


def _configuration(broker: Broker, topic: str) -> dict[str, str]:
    answer = broker.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    return {key: str(entry["value"]) for key, entry in answer["topic"][topic].items()}


def _topic(name: str) -> ResourcePattern:
    return ResourcePattern(ResourceType.TOPIC, name, ACLResourcePatternType.LITERAL)


@contextmanager
def _only(broker: Broker, operation: ACLOperation, *where: ResourcePattern, user: str | None = None) -> Iterator[None]:
    """`user` (by default the one with the password) may do this there, and nobody anything else."""
    principal = f"User:{user or broker.access.username}"
    allowed = [ACL(principal, "*", operation, ACLPermissionType.ALLOW, pattern) for pattern in where]
    answer = broker.admin.create_acls(allowed)
    assert not answer["failed"], answer
    try:
        yield
    finally:
        allow = ACLPermissionType.ALLOW
        broker.admin.delete_acls([ACLFilter(principal, "*", operation, allow, each) for each in where])
