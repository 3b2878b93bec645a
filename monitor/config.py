"""Decides what the agent is configured to do: frozen settings from defaults, file, environment and command line.

The later one wins. Every problem is found before anything starts, and all of them are told at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from monitor import settings_customers
from monitor.core.records import Kind, Level, Record
from monitor.core.slicing import FIELDS as TRANSCRIPT_FIELDS
from monitor.core.slicing import SliceSettings
from monitor.settings_mapping import MappingSettings, Topics, resolve
from monitor.settings_shapes import Plain, Unfit
from monitor.settings_source import Problem, flatten, read_environment, read_file, shown
from monitor.settings_table import FIELDS, TWO_WAY, as_written

DIMENSIONS_MAX = 16
"""16 dimensions have 120 intersections of up to `slices.groups_max` combinations each; at double, four times as many
slices share one page budget and none could ever page."""

RECEIVERS_MAX = 10
"""URLs of one integration: an Alertmanager cluster has three, rarely five."""

NO_DIMENSION = frozenset({
    "le", "quantile", "job", "instance", "customer", "speaker", "session", "id", "ts",
    "group", "namespace", "pod", "container", "alertname", "severity",
})  # fmt: skip
"""Names that a message's attributes may not have, or that tell persons and utterances apart rather than groups."""


class ConfigError(Exception):
    """The operator has something to repair; nothing was started."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


# ------------------------------------------------------------------------------------------------------------ settings
class InputKind(StrEnum):
    STDIN = "stdin"
    FILES = "files"
    DIRECTORY = "directory"
    KAFKA = "kafka"


class InputSettings(Record, frozen=True):
    kind: InputKind
    transcripts: tuple[str, ...]
    references: tuple[str, ...]
    mapping: dict[str, MappingSettings]
    """By topic or input; `settings_mapping.entry_for` finds the one that holds."""

    def paths(self, kind: Kind) -> tuple[str, ...]:
        """Its paths or topics."""
        return self.transcripts if kind is Kind.TRANSCRIPT else self.references


class KafkaSecurity(Record, frozen=True):
    protocol: str
    mechanism: str | None
    username_file: str | None
    password_file: str | None
    ca_file: str | None
    cert_file: str | None
    key_file: str | None


class KafkaTopics(Record, frozen=True):
    pairs: str
    outcomes: str
    reviews: str
    dead_letters: str


class KafkaClient(StrEnum):
    KAFKA_PYTHON = "kafka-python"
    CONFLUENT = "confluent"


class KafkaSettings(Record, frozen=True):
    bootstrap_servers: tuple[str, ...]
    client: KafkaClient
    group: str
    instance: str | None
    session_timeout_seconds: float = msgspec.field(name="session_timeout")
    security: KafkaSecurity
    allow_plaintext: bool
    topics: KafkaTopics


class TenantSettings(Record, frozen=True):
    allow: tuple[str, ...]


class SampleSettings(Record, frozen=True):
    """Exactly one of `probability` and `labels_per_day` is set."""

    probability: float | None
    labels_per_day: float | None
    per_stratum_min: float
    strata: tuple[str, ...]


class LabelSettings(Record, frozen=True):
    maturity_seconds: float | None = msgspec.field(name="maturity")
    """None: chosen from the first days' delays, then frozen."""
    ttl_seconds: float = msgspec.field(name="ttl")
    lateness_seconds: float = msgspec.field(name="lateness")


class ScoreSettings(Record, frozen=True):
    profiles: dict[str, str]
    replacements: tuple[tuple[str, str], ...]
    keywords: tuple[str, ...]


class DecisionSettings(Record, frozen=True):
    unit: str
    page_budget: float
    page_budget_days: int
    page_on_gap: bool
    margin: float
    detectors: tuple[str, ...]
    calibration: tuple[str, ...]
    early_warning: bool
    baselines: str | None


class AlertmanagerSettings(Record, frozen=True):
    urls: tuple[str, ...]
    levels: tuple[Level, ...]
    username_file: str | None
    password_file: str | None
    ca_file: str | None
    resend_seconds: float = msgspec.field(name="resend")


class PagerdutySettings(Record, frozen=True):
    routing_key_file: str | None
    levels: tuple[Level, ...]
    region: str
    url: str | None


class SlackSettings(Record, frozen=True):
    webhook_url_file: str | None
    levels: tuple[Level, ...]
    digest_hour: int


class WebhookSettings(Record, frozen=True):
    urls: tuple[str, ...]
    levels: tuple[Level, ...]
    secret_file: str | None
    ca_file: str | None


class NotifySettings(Record, frozen=True):
    hosts: tuple[str, ...]
    page_url: str | None
    runbooks_url: str | None
    alertmanager: AlertmanagerSettings
    pagerduty: PagerdutySettings
    slack: SlackSettings
    webhook: WebhookSettings


class TlsSettings(Record, frozen=True):
    cert_file: str | None
    key_file: str | None
    client_ca_file: str | None


class AuthSettings(Record, frozen=True):
    username: str | None
    password_file: str | None


class ServeSettings(Record, frozen=True):
    host: str
    port: int
    tls: TlsSettings
    auth: AuthSettings


class StateSettings(Record, frozen=True):
    path: str
    pending_max: int
    checkpoint_seconds: float = msgspec.field(name="checkpoint")


class PrivacySettings(Record, frozen=True):
    release_min: int
    reviews: bool
    hash_key_file: str | None


class LogSettings(Record, frozen=True):
    level: str
    format: str


class Settings(Record, frozen=True):
    """The whole configuration, defaults filled in. Fields are documented in settings_table.py, which has no second
    copy of them here but their types."""

    input: InputSettings
    kafka: KafkaSettings
    tenants: TenantSettings
    slices: SliceSettings
    sampling: SampleSettings
    labels: LabelSettings
    scoring: ScoreSettings
    decide: DecisionSettings
    customers: dict[str, DecisionSettings]
    notify: NotifySettings
    serve: ServeSettings
    state: StateSettings
    privacy: PrivacySettings
    log: LogSettings

    @property
    def sha256(self) -> str:
        """Names this configuration: the same for every file that means the same."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


# ------------------------------------------------------------------------------------------------------------- loading
def load_settings(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> Settings:
    """Settings from the defaults, then the file, then the environment, then `overrides` (location -> value).

    Raises ConfigError with every problem found.
    """
    tree, problems = read_file(path) if path is not None else ({}, [])
    given, unknown = flatten(tree)
    from_environment, unknown_variables = read_environment(environ)
    problems += unknown + unknown_variables
    variables = {location: FIELDS[location].variable for location in from_environment}
    given.update(from_environment)
    for location, value in (overrides or {}).items():
        assert location in FIELDS, location
        given[location] = value
        variables.pop(location, None)

    values: dict[str, Plain] = {}
    unfit: set[str] = set()
    for field in FIELDS.values():
        location = field.location
        if location in given:
            try:
                values[location] = field.shape.read(given[location])
                continue
            except Unfit as error:
                unfit.add(location)
                origin = f" (from {variables[location]})" if location in variables else ""
                problems.append(
                    Problem(
                        path=location + origin,
                        got=shown(given[location], location),
                        want=error.want,
                        example=as_written(field.example),
                    )
                )
        values[location] = None if field.default is None else field.shape.read(field.default)

    _fill(values)
    problems += _resolve_mapping(values, unfit)
    problems += _resolve_customers(values, unfit)
    settings = msgspec.convert(_nested(values), Settings)
    problems += [problem for problem in _contradictions(settings) if unfit.isdisjoint(problem.concerns)]
    if problems:
        raise ConfigError(problems)
    return settings


def _fill(values: dict[str, Plain]) -> None:
    """Defaults that follow from other settings."""
    dimensions = values["slices.dimensions"]
    assert isinstance(dimensions, list)
    if values["slices.intersections"] == TWO_WAY:
        values["slices.intersections"] = [list(pair) for pair in combinations(dimensions, 2)]
    elif values["slices.intersections"] is None:
        pair: list[Plain] = ["accent", "deployment"]
        values["slices.intersections"] = [pair] if all(name in dimensions for name in pair) else []
    if values["slices.strata"] is None:
        values["slices.strata"] = dimensions
    if values["sampling.strata"] is None:
        values["sampling.strata"] = values["slices.strata"]
    if values["sampling.probability"] is None and values["sampling.labels_per_day"] is None:
        values["sampling.probability"] = 1.0
    default, given = FIELDS["scoring.profiles"].default, values["scoring.profiles"]
    assert isinstance(default, dict)
    assert isinstance(given, dict)
    values["scoring.profiles"] = {**default, **given}


def _resolve_mapping(values: dict[str, Plain], unfit: set[str]) -> list[Problem]:
    """Presets are filled in here, so that whoever reads messages finds expressions and nothing else."""
    topics = None
    if values["input.kind"] == InputKind.KAFKA:
        named = [values["input.transcripts"], values["input.references"]]
        topics = Topics(*([str(name) for name in names] for names in named if isinstance(names, list)))
    configured = values["input.mapping"]
    assert isinstance(configured, dict)
    values["input.mapping"], problems = resolve(configured, topics, NO_DIMENSION | set(TRANSCRIPT_FIELDS))
    return [problem for problem in problems if unfit.isdisjoint(problem.concerns)]


def _resolve_customers(values: dict[str, Plain], unfit: set[str]) -> list[Problem]:
    """Every customer of `customers` gets the whole of `decide`, with what it has of its own."""
    configured, prefix = values["customers"], "decide."
    assert isinstance(configured, dict)
    decide = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    values["customers"], problems = settings_customers.resolve(configured, decide, values["tenants.allow"])
    return [problem for problem in problems if unfit.isdisjoint(problem.concerns)]


def _nested(values: Mapping[str, Plain]) -> dict[str, Plain]:
    root: dict[str, Plain] = {}
    for location, value in values.items():
        *folders, leaf = location.split(".")
        node = root
        for folder in folders:
            child = node.setdefault(folder, {})
            assert isinstance(child, dict)
            node = child
        node[leaf] = value
    return root


# ------------------------------------------------------------------------------------------------------ contradictions
def _contradictions(settings: Settings) -> Iterator[Problem]:
    """Settings that are fit one by one but not together."""
    yield from _input_problems(settings)
    yield from _security_problems(settings)
    yield from _slice_problems(settings.slices)
    yield from _sampling_problems(settings)
    yield from _time_problems(settings.labels)
    yield from _notify_problems(settings.notify)
    yield from _serve_problems(settings.serve)


def _input_problems(settings: Settings) -> Iterator[Problem]:
    kind = settings.input.kind
    if kind is InputKind.STDIN:
        return
    for location, paths in (
        ("input.transcripts", settings.input.transcripts),
        ("input.references", settings.input.references),
    ):
        what = "topic" if kind is InputKind.KAFKA else "path"
        if not paths:
            yield _missing(location, f"a {what} for input.kind {kind}")
        elif kind is InputKind.DIRECTORY and len(paths) > 1:
            want = f"one {what} for input.kind {kind}"
            yield Problem(path=location, got=f"{len(paths)} {what}s", want=want, concerns=(location,))
    if kind is not InputKind.KAFKA:
        return
    for topic in settings.input.transcripts:
        if topic in settings.input.references:
            want = "topics that are not among input.transcripts: a topic holds one kind of message"
            concerns = ("input.transcripts", "input.references")
            yield Problem(path="input.references", got=topic, want=want, concerns=concerns)
    yield from _topic_problems(settings)
    if not settings.kafka.bootstrap_servers:
        yield _missing("kafka.bootstrap_servers", "at least one broker for input.kind kafka")
    protocol = settings.kafka.security.protocol
    if protocol.endswith("PLAINTEXT") and not settings.kafka.allow_plaintext:
        yield Problem(
            path="kafka.security.protocol",
            got=protocol,
            want="an encrypted protocol, or kafka.allow_plaintext: true",
            example="SASL_SSL",
            concerns=("kafka.security.protocol", "kafka.allow_plaintext"),
        )


def _topic_problems(settings: Settings) -> Iterator[Problem]:
    """Two roles of one topic would read each other's records."""
    taken = dict.fromkeys((*settings.input.transcripts, *settings.input.references), "an input")
    for role in KafkaTopics.__struct_fields__:
        topic = getattr(settings.kafka.topics, role)
        if topic in taken:
            location = f"kafka.topics.{role}"
            concerns = ("input.transcripts", "input.references", location)
            yield Problem(path=location, got=topic, want=f"a topic that is not {taken[topic]}", concerns=concerns)
        taken[topic] = f"kafka.topics.{role}"


def _security_problems(settings: Settings) -> Iterator[Problem]:
    security = settings.kafka.security
    if security.protocol.startswith("SASL_"):
        for location, value in (
            ("kafka.security.mechanism", security.mechanism),
            ("kafka.security.username_file", security.username_file),
            ("kafka.security.password_file", security.password_file),
        ):
            if value is None:
                yield _missing(location, f"a value for protocol {security.protocol}", "kafka.security.protocol")
    elif security.mechanism is not None:
        yield Problem(
            path="kafka.security.mechanism",
            got=security.mechanism,
            want="nothing without a SASL protocol",
            example="kafka.security.protocol: SASL_SSL",
            concerns=("kafka.security.protocol", "kafka.security.mechanism"),
        )
    yield from _together("kafka.security.cert_file", security.cert_file, "kafka.security.key_file", security.key_file)


def _slice_problems(slices: SliceSettings) -> Iterator[Problem]:
    sliced = (*slices.dimensions, *slices.demographics)
    for location, names in (
        ("slices.dimensions", slices.dimensions),
        ("slices.demographics", slices.demographics),
        ("slices.strata", slices.strata),
    ):
        for name in names:
            if name in NO_DIMENSION:
                yield Problem(
                    path=location,
                    got=name,
                    want=f"one of {', '.join(TRANSCRIPT_FIELDS)} or an attribute",
                    example=as_written(FIELDS[location].example),
                    concerns=(location,),
                )
    if len(sliced) > DIMENSIONS_MAX:
        want = f"at most {DIMENSIONS_MAX} with slices.demographics"
        yield Problem(
            path="slices.dimensions", got=f"{len(sliced)} dimensions", want=want, concerns=("slices.dimensions",)
        )
    for name in slices.dimensions:
        if name in slices.demographics:
            want = "no dimension of slices.dimensions"
            yield Problem(
                path="slices.demographics",
                got=name,
                want=want,
                concerns=("slices.dimensions", "slices.demographics"),
            )
    seen: set[frozenset[str]] = set()
    for pair in slices.intersections:
        location, written = "slices.intersections", f"[{', '.join(pair)}]"
        for name in pair:
            if name not in sliced:
                yield Problem(
                    path=location,
                    got=f"{name} in {written}",
                    want=f"one of {', '.join(sliced)}",
                    example=as_written([list(sliced[:2])]) if len(sliced) > 1 else "[]",
                    concerns=(location, "slices.dimensions", "slices.demographics"),
                )
        if frozenset(pair) in seen or pair[0] == pair[1]:
            yield Problem(path=location, got=written, want="two different dimensions, once", concerns=(location,))
        seen.add(frozenset(pair))
    for name in slices.canonical:
        if name not in slices.names:
            yield Problem(
                path=f"slices.canonical.{name}",
                got="no dimension",
                want=f"one of {', '.join(slices.names)}",
                concerns=("slices.canonical", "slices.dimensions", "slices.demographics", "slices.strata"),
            )


def _sampling_problems(settings: Settings) -> Iterator[Problem]:
    sampling = settings.sampling
    if sampling.probability is not None and sampling.labels_per_day is not None:
        yield Problem(
            path="sampling",
            got="both probability and labels_per_day",
            want="one of them",
            example="sampling: {labels_per_day: 2000}",
            concerns=("sampling.probability", "sampling.labels_per_day"),
        )
    for name in sampling.strata:
        if name not in settings.slices.names:
            yield Problem(
                path="sampling.strata",
                got=name,
                want=f"dimensions, demographics or strata of slices ({', '.join(settings.slices.names)})",
                example=as_written(list(settings.slices.dimensions)),
                concerns=("sampling.strata", "slices.dimensions", "slices.demographics", "slices.strata"),
            )


def _time_problems(labels: LabelSettings) -> Iterator[Problem]:
    for location, seconds in (
        ("labels.maturity", labels.maturity_seconds),
        ("labels.lateness", labels.lateness_seconds),
    ):
        if seconds is not None and seconds >= labels.ttl_seconds:
            yield Problem(
                path=location,
                got=f"{seconds / 3600:g} hours",
                want=f"less than labels.ttl ({labels.ttl_seconds / 3600:g} hours)",
                example=as_written(FIELDS[location].example),
                concerns=(location, "labels.ttl"),
            )


def _notify_problems(notify: NotifySettings) -> Iterator[Problem]:
    manager, webhook = notify.alertmanager, notify.webhook
    where = "notify.alertmanager"
    yield from _together(
        f"{where}.username_file", manager.username_file, f"{where}.password_file", manager.password_file
    )
    if not manager.urls and (manager.username_file or manager.password_file or manager.ca_file):
        yield _missing(f"{where}.urls", "a URL to log in to")
    if not webhook.urls and (webhook.secret_file or webhook.ca_file):
        yield _missing("notify.webhook.urls", "a URL to post to")
    pagerduty = () if notify.pagerduty.url is None else (notify.pagerduty.url,)
    for location, urls in (
        (f"{where}.urls", manager.urls),
        ("notify.pagerduty.url", pagerduty),
        ("notify.webhook.urls", webhook.urls),
    ):
        if len(urls) > RECEIVERS_MAX:
            want = f"at most {RECEIVERS_MAX}: each has a thread and a queue"
            yield Problem(path=location, got=f"{len(urls)} URLs", want=want, concerns=(location,))
        for url in urls:
            host = urlsplit(url).hostname
            if notify.hosts and host not in notify.hosts:
                yield Problem(
                    path=location,
                    got=str(host),
                    want=f"a host of notify.hosts ({', '.join(notify.hosts)})",
                    example=as_written(FIELDS["notify.hosts"].example),
                    concerns=(location, "notify.hosts"),
                )


def _serve_problems(serve: ServeSettings) -> Iterator[Problem]:
    yield from _together("serve.tls.cert_file", serve.tls.cert_file, "serve.tls.key_file", serve.tls.key_file)
    yield from _together(
        "serve.auth.username", serve.auth.username, "serve.auth.password_file", serve.auth.password_file
    )
    if serve.tls.client_ca_file and not serve.tls.cert_file:
        yield _missing("serve.tls.cert_file", "a certificate, as serve.tls.client_ca_file is set")


def _missing(location: str, want: str, *concerns: str) -> Problem:
    return Problem(
        path=location,
        got="nothing",
        want=want,
        example=f"{location}: {as_written(FIELDS[location].example)}",
        concerns=(location, *concerns),
    )


def _together(first: str, one: str | None, second: str, other: str | None) -> Iterator[Problem]:
    """Two settings of which one is useless without the other."""
    if (one is None) != (other is None):
        absent, present = (first, second) if one is None else (second, first)
        yield _missing(absent, f"a value, as {present} is set", present)
