"""Decides what a topic should be, and what is wrong with one that is otherwise; knows no broker.

What breaks a promise as it is (records vanish, are refused, or text stays) is a problem; what breaks one only when
something else fails is advice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from monitor.adapters.kafka.connection import MESSAGE_BYTES_MAX
from monitor.config import Settings

PARTITIONS_DEFAULT = 12
"""Divides evenly among 1, 2, 3, 4, 6 and 12 agents. At half, a second agent of five has nothing to do; at double, an
agent that runs alone holds 24 state files. Adding partitions later moves keys away from their waiting transcripts."""

REPLICATION_MAX = 3
"""With two in sync, one broker may be repaired while another fails."""

_DAY_MS = 86_400_000

PAIRS_MARGIN_MS = 7 * _DAY_MS
"""Beyond `labels.ttl`: a week in which the agents may be down and still find everything that waits."""

OUTCOMES_RETENTION_MS = 400 * _DAY_MS
"""A year with the same season before, as old as the oldest message that is accepted."""

DEAD_LETTERS_RETENTION_MS = 30 * _DAY_MS

INPUT_RETENTION_MS_MIN = 7 * _DAY_MS
"""A shorter outage than a week loses nothing: long holidays, and a repair by people who have others to do."""

SEGMENT_MS = _DAY_MS
"""Text is deleted by whole segments: with Kafka's default of 7 days it would stay a week longer than said."""


class Own(StrEnum):
    """Topics of ours, by the names of their settings under `kafka.topics`."""

    PAIRS = "pairs"
    OUTCOMES = "outcomes"
    REVIEWS = "reviews"
    DEAD_LETTERS = "dead_letters"


ALL_OWN = frozenset(Own)


class Level(StrEnum):
    """PROBLEM: a promise is broken as it is (records vanish or are refused). ADVICE: works, until something happens."""

    PROBLEM = "problem"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One deviation. `setting` is Kafka's name of it, or `topic`, `partitions`, `replication`, `permissions`."""

    topic: str
    setting: str
    got: str
    want: str
    level: Level
    why: str

    def __str__(self) -> str:
        return f"{self.level}: {self.topic}: {self.setting} is {self.got}, want {self.want}: {self.why}"


class Wanted(NamedTuple):
    own: Own
    name: str
    partitions: int
    configs: Mapping[str, str]


class Topic(NamedTuple):
    """A topic that is there. `configs` is empty where we may not read it."""

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]


# ------------------------------------------------------------------------------------------------------------- wanted
def wanted_topics(settings: Settings, partitions: int, brokers: int, own: Collection[Own]) -> list[Wanted]:
    """Reviews and dead letters have one partition: people read them, and some thousand a day need no second."""
    names = settings.kafka.topics
    ttl = round(settings.labels.ttl_seconds * 1000)
    topics = {
        Own.PAIRS: (names.pairs, partitions, "delete", ttl + PAIRS_MARGIN_MS),
        Own.OUTCOMES: (names.outcomes, partitions, "delete", OUTCOMES_RETENTION_MS),
        Own.REVIEWS: (names.reviews, 1, "compact,delete", ttl),
        Own.DEAD_LETTERS: (names.dead_letters, 1, "delete", DEAD_LETTERS_RETENTION_MS),
    }
    wanted = []
    for each, (name, number, policy, retention) in topics.items():
        if each not in own:
            continue
        configs = {
            "cleanup.policy": policy,
            "retention.ms": str(retention),
            "retention.bytes": "-1",
            "max.message.bytes": str(MESSAGE_BYTES_MAX),
            # By the time in the record, a late reference would be deleted at once and one from a clock that is ahead
            # be refused, and all that is sent after it.
            "message.timestamp.type": "LogAppendTime",
            "min.insync.replicas": str(max(1, min(REPLICATION_MAX, brokers) - 1)),
            "unclean.leader.election.enable": "false",
        }
        if each in (Own.PAIRS, Own.REVIEWS):
            configs["segment.ms"] = str(SEGMENT_MS)
        if each is Own.REVIEWS:
            configs["max.compaction.lag.ms"] = str(_DAY_MS)  # an erased text is gone a day later, not when it suits
        wanted.append(Wanted(each, name, number, configs))
    return wanted


# ----------------------------------------------------------------------------------------------------------- findings
def missing_topic(name: str, *, ours: bool) -> Finding:
    why = "`wervane topics create` makes it" if ours else "it is yours to make, or the setting names another"
    return Finding(topic=name, setting="topic", got="missing", want="there", level=Level.PROBLEM, why=why)


def input_findings(name: str, topic: Topic | None) -> Iterator[Finding]:
    """What the customer made is the customer's: it is there, or all is advice."""
    if topic is None:
        yield missing_topic(name, ours=False)
        return
    if not topic.configs:
        yield _unreadable(name)
        return

    def advice(setting: str, got: str, want: str, why: str) -> Finding:
        return Finding(topic=name, setting=setting, got=got, want=want, level=Level.ADVICE, why=why)

    retention = int(topic.configs["retention.ms"])
    policy = topic.configs["cleanup.policy"]
    if "delete" in policy and 0 <= retention < INPUT_RETENTION_MS_MIN:
        why = "what is older is gone when the agents come back from an outage"
        yield advice("retention.ms", _days(retention), f"at least {_days(INPUT_RETENTION_MS_MIN)}", why)
    if "compact" in policy:
        yield advice("cleanup.policy", policy, "delete", "records that share a key vanish before they are read")
    if "delete" in policy and int(topic.configs["retention.bytes"]) >= 0:
        why = "busy days are deleted earlier than quiet ones"
        yield advice("retention.bytes", topic.configs["retention.bytes"], "-1", why)


def own_findings(wanted: Wanted, topic: Topic, settings: Settings, partitions: int | None) -> Iterator[Finding]:
    if partitions is not None and topic.partitions != wanted.partitions and wanted.own in (Own.PAIRS, Own.OUTCOMES):
        why = "agents beyond that many stand idle; do not add partitions while transcripts wait, keys would move"
        yield Finding(
            topic=topic.name,
            setting="partitions",
            got=str(topic.partitions),
            want=str(wanted.partitions),
            level=Level.ADVICE,
            why=why,
        )
    if not topic.configs:
        yield _unreadable(topic.name)
        return
    yield from _retention_findings(wanted, topic, settings)
    for setting, level, why in _rules(wanted.own):
        got, want = topic.configs.get(setting, "unknown"), wanted.configs[setting]
        if not _as_good(setting, got, want):
            yield Finding(topic=topic.name, setting=setting, got=got, want=want, level=level, why=why)


def _rules(own: Own) -> Iterator[tuple[str, Level, str]]:
    """(setting, how bad, why) that are compared one by one."""
    log = own in (Own.PAIRS, Own.OUTCOMES)
    serious = Level.PROBLEM if log else Level.ADVICE
    if own is Own.REVIEWS:
        yield "cleanup.policy", Level.PROBLEM, "erased and old texts would stay, or corrected ones be shown twice"
        yield "max.compaction.lag.ms", Level.ADVICE, "an erased text stays until compaction happens to run"
    else:
        yield "cleanup.policy", Level.PROBLEM, "records that share a key would vanish before they are read"
    yield "retention.bytes", serious, "busy days would be deleted before their time"
    large = Level.PROBLEM if own in (Own.PAIRS, Own.REVIEWS) else Level.ADVICE
    yield "max.message.bytes", large, "the largest messages that are accepted would be refused here"
    yield "message.timestamp.type", serious, "late records would be deleted at once, early ones refused"
    yield "unclean.leader.election.enable", serious, "records that were acknowledged may be lost with a broker"
    if own in (Own.PAIRS, Own.REVIEWS):
        yield "segment.ms", Level.ADVICE, "text is deleted by whole segments, so it stays this much longer"


def _as_good(setting: str, got: str, want: str) -> bool:
    match setting:
        case "max.message.bytes":
            return int(got) >= int(want)
        case "segment.ms" | "max.compaction.lag.ms":
            return int(got) <= int(want)
        case "cleanup.policy":
            return set(got.split(",")) == set(want.split(","))
        case _:
            return got == want


def _retention_findings(wanted: Wanted, topic: Topic, settings: Settings) -> Iterator[Finding]:
    got, want = int(topic.configs["retention.ms"]), int(wanted.configs["retention.ms"])
    ttl = settings.labels.ttl_seconds * 1000
    holds_text = wanted.own in (Own.PAIRS, Own.REVIEWS)

    def finding(level: Level, bound: str, why: str) -> Finding:
        want_said = f"{bound} {_days(want)}"
        return Finding(topic=topic.name, setting="retention.ms", got=_days(got), want=want_said, level=level, why=why)

    if 0 <= got < want:
        match wanted.own:
            case Own.PAIRS:
                why = f"transcripts wait {_days(ttl)} (labels.ttl), and a state that is lost is rebuilt from here"
                yield finding(Level.PROBLEM, "at least", why)
            case Own.OUTCOMES:
                level = Level.PROBLEM if got < ttl else Level.ADVICE
                yield finding(level, "at least", "decisions are rebuilt from here, and audits read it")
            case Own.REVIEWS:
                yield finding(Level.ADVICE, "at least", "correctors lose texts that a reference may still come for")
            case Own.DEAD_LETTERS:
                yield finding(Level.ADVICE, "at least", "nobody may have looked at rejected messages by then")
    elif holds_text and got < 0:
        yield finding(Level.PROBLEM, "about", "text would be kept for ever")
    elif holds_text and got > 2 * want:
        yield finding(Level.ADVICE, "about", "text is kept longer than anything waits for it")


def replication_findings(topic: Topic, brokers: int, *, ours: bool) -> Iterator[Finding]:
    """Of a customer's topic only that it is not replicated at all."""

    def finding(setting: str, got: int, want: str, level: Level, why: str) -> Finding:
        return Finding(topic=topic.name, setting=setting, got=str(got), want=want, level=level, why=why)

    fit = min(REPLICATION_MAX, brokers)
    if topic.replication == 1:
        why = "what is on a broker's disk is lost with it"
        yield finding("replication", 1, str(max(fit, 2)), Level.ADVICE, why)
    elif ours and topic.replication < fit:
        yield finding("replication", topic.replication, str(fit), Level.ADVICE, "a second failure would lose records")
    if not ours or not topic.configs:
        return
    in_sync = int(topic.configs["min.insync.replicas"])
    if in_sync > topic.replication:
        why = "nothing can be appended, there are not that many replicas"
        yield finding("min.insync.replicas", in_sync, f"at most {topic.replication}", Level.PROBLEM, why)
    elif topic.replication >= REPLICATION_MAX and in_sync < topic.replication - 1:
        why = "a record may be acknowledged by a broker that is alone, and lost with it"
        yield finding("min.insync.replicas", in_sync, str(topic.replication - 1), Level.ADVICE, why)


def _unreadable(name: str) -> Finding:
    return Finding(
        topic=name,
        setting="permissions",
        got="no permission to read its configuration",
        want="DescribeConfigs",
        level=Level.ADVICE,
        why="retention and compaction were not checked",
    )


def _days(milliseconds: float) -> str:
    """`7 days`, `12 hours`; also for what is kept for ever.

    >>> _days(604800000), _days(86400000), _days(5400000), _days(1000), _days(-1)
    ('7 days', '1 day', '1.5 hours', '1 second', 'unlimited')
    """
    if milliseconds < 0:
        return "unlimited"
    for unit, size in (("day", _DAY_MS), ("hour", 3_600_000), ("minute", 60_000)):
        if milliseconds >= size:
            return _counted(milliseconds / size, unit)
    return _counted(milliseconds / 1000, "second")


def _counted(number: float, unit: str) -> str:
    return f"{number:.4g} {unit}{'' if number == 1 else 's'}"
