"""Decides whether the topics are fit for the promises that are made of them, and makes those of ours that are missing.

Only `create` changes anything, and only topics that are not there: what exists is the operator's, is left as it is and
reported. A customer's input topics are never created.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from kafka import KafkaAdminClient, errors
from kafka.admin import ConfigResource, ConfigResourceType

from monitor.adapters.kafka.connection import Connection, check_reachable, client_options
from monitor.adapters.kafka.port import LogRefused, LogUnreachable
from monitor.adapters.kafka.topic_fitness import (
    ALL_OWN,
    PARTITIONS_DEFAULT,
    REPLICATION_MAX,
    Finding,
    Level,
    Own,
    Topic,
    Wanted,
    input_findings,
    missing_topic,
    own_findings,
    replication_findings,
    wanted_topics,
)
from monitor.config import InputKind, Settings

__all__ = ["ALL_OWN", "PARTITIONS_DEFAULT", "Finding", "Level", "Own", "Report", "check", "create"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found, in the order of the topics; `created` are new, `present` were there, `missing` are not."""

    created: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def fit(self) -> bool:
        """Whether nothing is broken; advice may be left."""
        return all(finding.level is not Level.PROBLEM for finding in self.findings)

    def lines(self) -> list[str]:
        """For people."""
        said = [f"created: {name}" for name in self.created]
        said += [str(finding) for finding in self.findings]
        unremarkable = [name for name in self.present if all(finding.topic != name for finding in self.findings)]
        return said + [f"fit: {name}" for name in unremarkable]

    def document(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "fit": self.fit,
            "created": list(self.created),
            "present": list(self.present),
            "missing": list(self.missing),
            "findings": [
                {
                    "topic": finding.topic,
                    "setting": finding.setting,
                    "got": finding.got,
                    "want": finding.want,
                    "level": str(finding.level),
                    "why": finding.why,
                }
                for finding in self.findings
            ],
        }


def create(
    connection: Connection, settings: Settings, *, partitions: int = PARTITIONS_DEFAULT, own: Collection[Own] = ALL_OWN
) -> Report:
    """Make the topics of `own` that are missing; then as `check`. LogUnreachable, LogRefused."""
    with _admin(connection) as admin:
        brokers = len(admin.describe_cluster()["brokers"])
        wanted = wanted_topics(settings, partitions, brokers, own)
        there = set(admin.list_topics())
        created = tuple(each.name for each in wanted if each.name not in there and _create(admin, each, brokers))
        if created:
            admin.wait_for_topics(list(created))
        return _check(admin, settings, wanted, brokers, partitions, created)


def check(
    connection: Connection,
    settings: Settings,
    *,
    partitions: int | None = None,
    own: Collection[Own] = ALL_OWN,
) -> Report:
    """Compare the topics of `own` and the inputs with what they should be; with `partitions` also their number.

    Nothing is changed. LogUnreachable, LogRefused.
    """
    with _admin(connection) as admin:
        brokers = len(admin.describe_cluster()["brokers"])
        wanted = wanted_topics(settings, partitions or PARTITIONS_DEFAULT, brokers, own)
        return _check(admin, settings, wanted, brokers, partitions, ())


# --------------------------------------------------------------------------------------------------------------- parts
def _create(admin: KafkaAdminClient, wanted: Wanted, brokers: int) -> bool:
    """Whether it was us: another agent's `create` may have been faster."""
    request = {
        wanted.name: {
            "num_partitions": wanted.partitions,
            "replication_factor": min(REPLICATION_MAX, brokers),
            "configs": dict(wanted.configs),
        }
    }
    (answer,) = admin.create_topics(request, raise_errors=False)["topics"]
    error = errors.for_code(answer["error_code"])
    if error is errors.TopicAlreadyExistsError:
        return False
    if error is not errors.NoError:
        raise LogRefused(f"{wanted.name}: the cluster does not create it ({error.__name__})")
    return True


def _check(
    admin: KafkaAdminClient,
    settings: Settings,
    wanted: Sequence[Wanted],
    brokers: int,
    partitions: int | None,
    created: tuple[str, ...],
) -> Report:
    kafka_input = settings.input.kind is InputKind.KAFKA
    inputs = (*settings.input.transcripts, *settings.input.references) if kafka_input else ()
    names = list(dict.fromkeys((*inputs, *(each.name for each in wanted))))
    topics = _topics(admin, names)
    findings: list[Finding] = []
    for name in dict.fromkeys(inputs):
        findings += input_findings(name, topics.get(name))
    for each in wanted:
        found = topics.get(each.name)
        findings += own_findings(each, found, settings, partitions) if found else [missing_topic(each.name, ours=True)]
    for topic in topics.values():
        findings += replication_findings(topic, brokers, ours=topic.name not in inputs)
    order = {name: number for number, name in enumerate(names)}
    return Report(
        created=created,
        present=tuple(name for name in names if name in topics and name not in created),
        missing=tuple(name for name in names if name not in topics),
        findings=tuple(sorted(findings, key=lambda finding: (order[finding.topic], finding.level is Level.ADVICE))),
    )


@contextlib.contextmanager
def _admin(connection: Connection) -> Iterator[KafkaAdminClient]:
    check_reachable(connection)
    servers = ", ".join(connection.servers)
    try:
        with contextlib.closing(KafkaAdminClient(**client_options(connection))) as admin:
            yield admin
    except errors.AuthorizationError as error:
        raise LogRefused(f"{servers}: the cluster does not allow this user to do so ({type(error).__name__})") from None
    except errors.KafkaError as error:
        raise LogUnreachable(f"{servers}: no answer about topics ({type(error).__name__})") from None


def _topics(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, Topic]:
    """Of these, the ones that are there. A topic that we may not see is refused, not missing."""
    there: dict[str, tuple[int, int]] = {}
    for topic in admin.describe_topics(list(names)) if names else []:
        error = errors.for_code(topic["error_code"])
        if error is errors.TopicAuthorizationFailedError:
            raise LogRefused(f"{topic['name']}: the cluster does not allow this user to see the topic")
        if error not in (errors.NoError, errors.UnknownTopicOrPartitionError):
            raise error
        if error is errors.NoError:
            copies = min(len(partition["replica_nodes"]) for partition in topic["partitions"])
            there[topic["name"]] = (len(topic["partitions"]), copies)
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in there]
    answer = admin.describe_configs(resources, config_filter="all").get("topic", {}) if resources else {}
    topics = {}
    for name, (number, copies) in there.items():
        configs = {key: str(entry["value"]) for key, entry in answer.get(name, {}).items()}
        topics[name] = Topic(name, number, copies, configs)
    return topics
