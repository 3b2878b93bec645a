"""Decides which settings exist: one table that the parser, the JSON Schema and docs/configuration.md are made from.

A row says where a setting lies, which shape it has, its default as one would write it, and an example for messages.
Secrets have no row of their own: a setting that needs one names a file (`*_file`).
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import msgspec

from monitor.settings_shapes import (
    Plain,
    Shape,
    address,
    choice,
    customers,
    duration,
    either,
    flag,
    identifier,
    mapping,
    name,
    number,
    optional,
    pairs,
    path,
    server,
    server_name,
    several,
    several_of,
    text,
    topic,
    topic_mapping,
    whole,
)

ENVIRONMENT_PREFIX = "WERVANE_"

TWO_WAY = "two-way"
"""What `slices.intersections` says for every pair of dimensions."""

RIVER_DETECTORS = ("adwin", "page-hinkley", "kswin", "hddm-a", "hddm-w", "ddm")
"""They reset after an alarm and call the degraded level normal, so they only ever open tickets."""


class Field(NamedTuple):
    """One setting.

    location  dotted path, e.g. `sampling.labels_per_day`
    default   as one would write it in YAML; None is "not set"
    """

    location: str
    shape: Shape
    default: Plain
    example: Plain
    doc: str

    @property
    def section(self) -> str:
        return self.location.partition(".")[0]

    @property
    def variable(self) -> str:
        """The environment variable that overrides it.

        >>> FIELDS["kafka.topics.pairs"].variable
        'WERVANE_KAFKA__TOPICS__PAIRS'
        """
        return ENVIRONMENT_PREFIX + self.location.upper().replace(".", "__")


SECTIONS: dict[str, str] = {
    "input": "Where transcripts and references come from.",
    "kafka": "The broker, for `input.kind: kafka`.",
    "tenants": "Whose traffic is watched.",
    "slices": (
        "Which groups are watched. A dimension names a transcript's field (`accent`, `deployment`, `language`, "
        "`model`) or one of its attributes; groups are declared, never inferred."
    ),
    "sampling": "Which utterances are followed, by a keyed hash of their id: `probability` or `labels_per_day`.",
    "labels": "How long references are waited for.",
    "scoring": "How a hypothesis is compared with its reference.",
    "decide": "When somebody is woken.",
    "customers": (
        "What is decided otherwise for one customer: `customers: {acme: {page_budget: 0.5}}`. Its keys, each as in "
        "`decide`: `detectors`, `page_budget`, `page_budget_days`, `page_on_gap`, `margin`, `calibration`."
    ),
    "notify": "Who is told. An integration is on once its address (or key file) is set.",
    "serve": "Where `/metrics`, `/healthz` and the status page are served.",
    "state": "What survives a crash.",
    "privacy": "What may be seen of small groups, and of text.",
    "log": "Events on stderr; never text, ids or speakers.",
}


def _language_map() -> Shape:
    profile = choice("whisper-en", "basic", "chars")
    return mapping(text("a language"), profile, "a mapping from language (or default) to whisper-en, basic or chars")


def _levels(integration: str, default: list[Plain], why: str) -> Field:
    shape = several_of("page", "ticket", "digest", want="levels")
    doc = f"Incidents of which levels it is told. {why}"
    return Field(f"{integration}.levels", shape, default, ["page"], doc)


_names = several(name, "a list of field or attribute names")
_files = several(path, "a path, or a list of paths")
_file = optional(path)

_ROWS: tuple[Field, ...] = (
    # ---------------------------------------------------------------------------------------------------- input
    Field(
        "input.kind",
        choice("stdin", "files", "directory", "kafka"),
        "stdin",
        "files",
        "`stdin`: both mixed on standard input (what names a customer is a transcript). `files`: JSON Lines that are "
        "complete, plain, .gz or .zst. `directory`: JSON Lines that grow, and folders that get new ones. `kafka`: "
        "topics, whole in one process or with stages apart.",
    ),
    Field(
        "input.transcripts",
        _files,
        [],
        "archive/transcripts.jsonl",
        "Transcripts: files, folders or patterns; one of them for `directory`; for `kafka`, topics.",
    ),
    Field(
        "input.references",
        _files,
        [],
        "archive/references.jsonl",
        "References, likewise.",
    ),
    Field(
        "input.mapping",
        topic_mapping,
        {},
        {"transcripts": {"preset": "deepgram", "customer": "$header.tenant", "deployment": "$header.site"}},
        "How messages that are not the contract's own JSON are read: for a topic, or for all `transcripts` or "
        "`references`, a preset, or JMESPath expressions by field. See [mapping.md](mapping.md).",
    ),
    # ---------------------------------------------------------------------------------------------------- kafka
    Field(
        "kafka.bootstrap_servers",
        several(server, "a list of host:port"),
        [],
        ["broker-1:9093", "broker-2:9093"],
        "Brokers to ask first.",
    ),
    Field(
        "kafka.client",
        choice("kafka-python", "confluent"),
        "kafka-python",
        "confluent",
        "Client library. `confluent` (librdkafka) takes a fraction of the CPU and needs the extra: "
        "`pip install 'wervane[fast]'`. It does not bound what a compressed batch expands to: choose it where you "
        "trust whoever can produce to your topics.",
    ),
    Field("kafka.group", topic, "wervane", "wervane", "Consumer group; stages apart add their name."),
    Field(
        "kafka.instance",
        optional(identifier),
        None,
        "wervane-0",
        "Name of this agent within its group, such as a StatefulSet pod's: restarted within `session_timeout`, it has "
        "its partitions back at once. Two agents of one name fence each other.",
    ),
    Field(
        "kafka.session_timeout",
        duration("1s", "30m"),
        "30s",
        "30s",
        "How long a member may be silent before others get its partitions.",
    ),
    Field(
        "kafka.security.protocol",
        choice("SSL", "SASL_SSL", "PLAINTEXT", "SASL_PLAINTEXT"),
        "SSL",
        "SASL_SSL",
        "The two PLAINTEXT protocols send transcripts in the clear and need `kafka.allow_plaintext`.",
    ),
    Field(
        "kafka.security.mechanism",
        optional(choice("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")),
        None,
        "SCRAM-SHA-512",
        "How to log in, for the two SASL protocols.",
    ),
    Field("kafka.security.username_file", _file, None, "/run/secrets/kafka-user", "File with the user's name."),
    Field("kafka.security.password_file", _file, None, "/run/secrets/kafka-password", "File with the password."),
    Field("kafka.security.ca_file", _file, None, "/etc/kafka/ca.pem", "Authorities to trust; else the system's."),
    Field("kafka.security.cert_file", _file, None, "/etc/kafka/client.pem", "Client certificate (mutual TLS)."),
    Field("kafka.security.key_file", _file, None, "/etc/kafka/client.key", "Key of the client certificate."),
    Field("kafka.allow_plaintext", flag, False, True, "Whether an unencrypted connection is acceptable."),
    Field("kafka.topics.pairs", topic, "wervane-pairs", "wervane-pairs", "Both inputs, keyed by utterance."),
    Field("kafka.topics.outcomes", topic, "wervane-outcomes", "wervane-outcomes", "Scored pairs, without text."),
    Field("kafka.topics.reviews", topic, "wervane-reviews", "wervane-reviews", "Hypotheses for correctors."),
    Field(
        "kafka.topics.dead_letters",
        topic,
        "wervane-dead-letters",
        "wervane-dead-letters",
        "Pointers to rejected messages.",
    ),
    # -------------------------------------------------------------------------------------------------- tenants
    Field(
        "tenants.allow",
        several(identifier, "a list of customers"),
        [],
        ["acme"],
        "Customers to watch; others' messages are rejected as `tenant_not_allowed`. Empty: every customer.",
    ),
    # --------------------------------------------------------------------------------------------------- slices
    Field(
        "slices.dimensions",
        _names,
        ["accent", "deployment"],
        ["accent", "deployment", "sector"],
        "Dimensions to slice by, each value a group.",
    ),
    Field(
        "slices.intersections",
        optional(either(TWO_WAY, TWO_WAY, pairs(name, "a list of pairs of dimensions"))),
        None,
        [["accent", "deployment"]],
        "Pairs of dimensions to slice by, or `two-way` for every pair of `dimensions`. "
        "Not set: `[[accent, deployment]]` if both are dimensions.",
    ),
    Field(
        "slices.strata",
        optional(_names),
        None,
        ["accent", "deployment"],
        "Dimensions whose combinations have an expected WER each, so that a change of mix is not taken for drift. "
        "Not set: all dimensions.",
    ),
    Field(
        "slices.demographics",
        _names,
        [],
        ["gender", "age_band"],
        "Sliced like dimensions, for attributes that speakers reported themselves.",
    ),
    Field(
        "slices.canonical",
        mapping(name, mapping(text("a value"), text("a value"), "a mapping"), "a mapping from dimension to names"),
        {},
        {"accent": {"scots": "scottish"}},
        "Other spellings of a value, for each dimension; compared without case.",
    ),
    Field(
        "slices.groups_max",
        whole(1, 10_000),
        200,
        200,
        "Values kept apart for each dimension, and combinations for each intersection; later ones are `_other`.",
    ),
    # ------------------------------------------------------------------------------------------------- sampling
    Field(
        "sampling.probability",
        optional(number(0, 1, above_low=True)),
        None,
        0.05,
        "Chance of every utterance. Not set: 1.0, or what `labels_per_day` affords.",
    ),
    Field(
        "sampling.labels_per_day",
        optional(number(1, 100_000_000)),
        None,
        2000,
        "Corrections that can be paid for in 24 hours; probabilities by stratum follow, re-planned each hour.",
    ),
    Field(
        "sampling.per_stratum_min",
        number(0, 1_000_000),
        20,
        20,
        "Corrections a day that every stratum gets first, with `labels_per_day`.",
    ),
    Field(
        "sampling.strata",
        optional(_names),
        None,
        ["accent", "site"],
        "Dimensions whose combinations share `labels_per_day`. Not set: those of `slices.strata`.",
    ),
    # --------------------------------------------------------------------------------------------------- labels
    Field(
        "labels.maturity",
        either("auto", None, duration("1m", "60d")),
        "auto",
        "24h",
        "How long after its end a unit is closed for decisions. `auto`: the smallest of 24, 48, 72 and 96 h by which "
        "85 % of the first days' references had come.",
    ),
    Field(
        "labels.ttl",
        duration("1h", "400d"),
        "30d",
        "30d",
        "How long an utterance waits for its reference, on the stream's own time.",
    ),
    Field(
        "labels.lateness",
        duration("0s", "7d"),
        "1h",
        "1h",
        "How far messages of one input may be out of order before an hour is judged.",
    ),
    # -------------------------------------------------------------------------------------------------- scoring
    Field(
        "scoring.profiles",
        _language_map(),
        {
            "default": "whisper-en",
            "cmn": "chars",
            "ja": "chars",
            "km": "chars",
            "lo": "chars",
            "my": "chars",
            "th": "chars",
            "yue": "chars",
            "zh": "chars",
        },
        {"default": "whisper-en", "hi": "basic", "zh": "chars"},
        "Normaliser by language: `whisper-en` (OpenAI's English rules), `basic` (multilingual, marks kept), `chars` "
        "(graphemes). What is given is laid over the default.",
    ),
    Field(
        "scoring.replacements",
        pairs(text("a text"), "a list of [from, to] pairs"),
        [],
        [["ok", "okay"]],
        "Replacements applied to both sides before the normaliser.",
    ),
    Field(
        "scoring.keywords",
        several(text("a word", characters_max=64), "a list of words"),
        [],
        ["warfarin", "heparin"],
        "Words that the strict score counts beside numbers, units and negation (drug names).",
    ),
    # --------------------------------------------------------------------------------------------------- decide
    Field(
        "decide.unit",
        name,
        "session",
        "call",
        "What counts as one independent observation: the field `session` or an attribute; where it is absent, a "
        "speaker's burst without a pause of 30 min, else the utterance.",
    ),
    Field(
        "decide.page_budget",
        number(0, 100, above_low=True),
        1.0,
        1.0,
        "Expected false pages in `page_budget_days`, for a customer, over all slices together.",
    ),
    Field("decide.page_budget_days", whole(1, 366), 90, 90, "Days that `page_budget` is meant for."),
    Field(
        "decide.page_on_gap",
        flag,
        False,
        True,
        "Whether a gap beyond `margin` and 15 % pages, for teams that signed a parity objective; else a standing gap "
        "is one ticket. A fifth of the page budget is for it.",
    ),
    Field(
        "decide.margin",
        number(0, 0.5, above_low=True),
        0.05,
        0.05,
        "A slice is at parity when its WER gap is known to lie within this.",
    ),
    Field(
        "decide.detectors",
        several_of("page-budget", *RIVER_DETECTORS, want="a list of detectors"),
        ["page-budget"],
        ["page-budget", "adwin"],
        "`page-budget` pages; river's (`adwin`, `page-hinkley`, `kswin`, `hddm-a`, `hddm-w`, `ddm`) open tickets. See "
        "[detectors.md](detectors.md).",
    ),
    Field(
        "decide.calibration",
        _files,
        [],
        "calibration/adwin.json",
        "Records of `wervane calibrate`: with one, a detector of river's pages, out of its share of the page budget.",
    ),
    Field(
        "decide.early_warning",
        flag,
        True,
        False,
        "Whether half-way evidence of drift buys labels in a label budget (never pages).",
    ),
    Field(
        "decide.baselines",
        _file,
        None,
        "/etc/wervane/baselines.json",
        "Baselines that `wervane baseline export` wrote: slices that know nothing newer take them at once. Not set: "
        "`run` reads `baselines.json` in `state.path` if it is there (`wervane baseline import` writes it).",
    ),
    # ------------------------------------------------------------------------------------------------ customers
    Field(
        "customers",
        customers,
        {},
        {"acme": {"page_budget": 0.5, "page_on_gap": True}},
        "Keys of `decide` by customer; a key that is not given is everybody's. Only in the file.",
    ),
    # --------------------------------------------------------------------------------------------------- notify
    Field(
        "notify.hosts",
        several(server_name, "a list of host names"),
        [],
        ["alertmanager", "oncall.example.org"],
        "If given, nothing is sent to any other host but PagerDuty's and Slack's own. `http://` in Slack's file is "
        "taken for a host named here only.",
    ),
    Field(
        "notify.page_url",
        optional(address("https", "http")),
        None,
        "https://wervane.example.org",
        "The status page as people reach it, for links in messages.",
    ),
    Field(
        "notify.runbooks_url",
        optional(address("https", "http")),
        None,
        "https://git.example.org/wervane/docs/runbooks",
        "Folder of the runbooks as people reach it; a message links to NAME.md below it.",
    ),
    Field(
        "notify.alertmanager.urls",
        several(address("https", "http"), "a list of URLs"),
        [],
        ["http://alertmanager-0:9093", "http://alertmanager-1:9093"],
        "Every Alertmanager of the cluster.",
    ),
    _levels("notify.alertmanager", ["page", "ticket", "digest"], "Its routes choose by the label `severity`."),
    Field(
        "notify.alertmanager.resend",
        duration("1s", "1h"),
        "1m",
        "1m",
        "How often an open alert is sent again; it expires ten times as long after the last time.",
    ),
    Field("notify.alertmanager.username_file", _file, None, "/run/secrets/am-user", "File with the user's name."),
    Field(
        "notify.alertmanager.password_file",
        _file,
        None,
        "/run/secrets/am-password",
        "File with the password.",
    ),
    Field("notify.alertmanager.ca_file", _file, None, "/etc/wervane/ca.pem", "Authorities to trust."),
    Field(
        "notify.pagerduty.routing_key_file",
        _file,
        None,
        "/run/secrets/pagerduty",
        "File with the routing key.",
    ),
    _levels("notify.pagerduty", ["page"], "A ticket at night is a false page."),
    Field("notify.pagerduty.region", choice("us", "eu"), "us", "eu", "PagerDuty's service region."),
    Field(
        "notify.pagerduty.url",
        optional(address("https", "http")),
        None,
        "https://relay.example.org/v2/enqueue",
        "Where events are posted instead, such as a relay of a closed network.",
    ),
    Field(
        "notify.slack.webhook_url_file",
        _file,
        None,
        "/run/secrets/slack",
        "File with the incoming webhook's URL.",
    ),
    _levels("notify.slack", ["page", "ticket", "digest"], "What is of level digest is collected for a day."),
    Field("notify.slack.digest_hour", whole(0, 23), 8, 8, "Hour of the day (UTC) of the digest."),
    Field(
        "notify.webhook.urls",
        several(address("https", "http"), "a list of URLs"),
        [],
        ["https://oncall.example.org/wervane"],
        "Where each transition is posted as JSON.",
    ),
    _levels("notify.webhook", ["page", "ticket", "digest"], "The level is in the JSON."),
    Field(
        "notify.webhook.secret_file",
        _file,
        None,
        "/run/secrets/webhook",
        "File with the key that signs posts.",
    ),
    Field("notify.webhook.ca_file", _file, None, "/etc/wervane/ca.pem", "Authorities to trust."),
    # ---------------------------------------------------------------------------------------------------- serve
    Field(
        "serve.host",
        text("a host name or address", characters_max=253),
        "127.0.0.1",
        "0.0.0.0",
        "Where to listen.",
    ),
    Field("serve.port", whole(0, 65_535), 9464, 9464, "Port; 0 takes a free one."),
    Field(
        "serve.tls.cert_file",
        _file,
        None,
        "/etc/wervane/tls.pem",
        "Server certificate (PEM, with those up to its authority): switches TLS on. Changes are taken while running.",
    ),
    Field("serve.tls.key_file", _file, None, "/etc/wervane/tls.key", "Key of the server certificate."),
    Field(
        "serve.tls.client_ca_file",
        _file,
        None,
        "/etc/wervane/clients.pem",
        "Authorities of clients (mutual TLS): nobody without a certificate of theirs is answered, on any path.",
    ),
    Field(
        "serve.auth.username",
        optional(identifier),
        None,
        "prometheus",
        "User's name: switches basic auth on, for all but `/healthz` and `/readyz`.",
    ),
    Field(
        "serve.auth.password_file",
        _file,
        None,
        "/run/secrets/scrape",
        "File with the user's password, or what `wervane hash-password` makes of it.",
    ),
    # ---------------------------------------------------------------------------------------------------- state
    Field(
        "state.path",
        path,
        "./wervane-state",
        "/var/lib/wervane",
        "Folder of the state and of what `run` writes.",
    ),
    Field(
        "state.pending_max",
        whole(1_000, 100_000_000),
        1_000_000,
        1_000_000,
        "Utterances and references held at most; beyond it the sampling threshold is lowered, never oldest first.",
    ),
    Field(
        "state.checkpoint",
        duration("1s", "5m"),
        "1s",
        "1s",
        "Time between durable writes of state, at most.",
    ),
    # -------------------------------------------------------------------------------------------------- privacy
    Field(
        "privacy.release_min",
        whole(1, 10_000),
        11,
        11,
        "In batches of how many sessions a slice's counts move on metrics, page and API (docs/privacy.md); 1: at once.",
    ),
    Field(
        "privacy.reviews",
        flag,
        True,
        False,
        "Whether sampled hypotheses are written out for human correctors.",
    ),
    Field(
        "privacy.hash_key_file",
        _file,
        None,
        "/run/secrets/wervane-hash-key",
        "File with a secret of at least 16 bytes that keys the hashes of ids, sessions and speakers. Not set: a fixed "
        "key, so that a person who knows an id can find its pseudonym.",
    ),
    # ------------------------------------------------------------------------------------------------------ log
    Field(
        "log.level",
        choice("debug", "info", "warning", "error"),
        "info",
        "warning",
        "Least severe event written.",
    ),
    Field("log.format", choice("json", "console"), "json", "console", "`console` is for people at a terminal."),
)

FIELDS: dict[str, Field] = {row.location: row for row in _ROWS}


# --------------------------------------------------------------------------------------------------------- published
def json_schema() -> dict[str, Plain]:
    """The configuration file as a JSON Schema (draft 2020-12), for editors and for `wervane schema config`."""
    root = _mapping_schema("wervane's configuration; every key is optional")
    for field in FIELDS.values():
        *folders, leaf = field.location.split(".")
        node = root
        for depth, folder in enumerate(folders):
            known = _properties(node)
            if folder not in known:
                known[folder] = _mapping_schema(SECTIONS[folder] if depth == 0 else "")
            child = known[folder]
            assert isinstance(child, dict)
            node = child
        described: dict[str, Plain] = {
            **field.shape.schema,
            "description": field.doc,
            "examples": [field.example],
        }
        if field.default is not None:
            described["default"] = field.default
        _properties(node)[leaf] = described
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wervane configuration",
        **root,
    }


def _mapping_schema(description: str) -> dict[str, Plain]:
    schema: dict[str, Plain] = {"type": ["object", "null"], "additionalProperties": False, "properties": {}}
    return {"description": description, **schema} if description else schema


def _properties(schema: dict[str, Plain]) -> dict[str, Plain]:
    properties = schema["properties"]
    assert isinstance(properties, dict)
    return properties


def as_written(value: Plain) -> str:
    """A value as one would write it in YAML, on one line.

    >>> as_written(["accent", "deployment"]), as_written({"uk": "england"}), as_written(True), as_written(None)
    ('[accent, deployment]', '{uk: england}', 'true', 'null')
    """
    if isinstance(value, list):
        return f"[{', '.join(as_written(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {as_written(item)}' for key, item in value.items())}}}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def markdown() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "Generated from `monitor/settings_table.py` by `make docs`; a test keeps the two in step.",
        "",
        "One YAML file, given by `--config`; every key is optional. An environment variable overrides a key: its",
        "path in capitals, parts joined by two underscores (`WERVANE_DECIDE__PAGE_BUDGET=0.5`; lists as `a,b` or as",
        "YAML). Durations are `90s`, `15m`, `24h`, `30d`. Secrets are read from files only (`*_file`). Relative paths",
        "start at the working directory. `wervane check-config FILE` lists every problem at once, `wervane schema",
        "config` prints the JSON Schema.",
    ]
    for section, purpose in SECTIONS.items():
        lines += [
            "",
            f"## {section}",
            "",
            purpose,
            "",
            "| key | default | wants | what it does |",
            "|---|---|---|---|",
        ]
        for field in FIELDS.values():
            if field.section == section:
                default = "not set" if field.default is None else f"`{as_written(field.default)}`"
                key = field.location.partition(".")[2] or "NAME"
                lines.append(
                    f"| `{key}` | {default} | {field.shape.want}, e.g. `{as_written(field.example)}` | {field.doc} |"
                )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
