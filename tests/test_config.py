"""Configuration: every mistake is told at once, in words that say what to write instead, and none tells a secret."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.adapters.wire.table import RESERVED_ATTRIBUTES
from monitor.building import pipeline_settings
from monitor.config import NO_DIMENSION, ConfigError, InputKind, Settings, load_settings
from monitor.core.counters import Counters
from monitor.core.customers import Customers
from monitor.core.records import Missing
from monitor.core.slicing import FIELDS as TRANSCRIPT_FIELDS
from monitor.core.slicing import SliceSettings
from monitor.settings_shapes import Plain
from monitor.settings_source import FILE_BYTES_MAX
from monitor.settings_table import FIELDS, RIVER_DETECTORS, SECTIONS, json_schema


def load(text: str, environ: Mapping[str, str] | None = None, *, folder: Path) -> Settings:
    path = folder / "wervane.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, environ or {})


def problems(text: str, environ: Mapping[str, str] | None = None, *, folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(text, environ, folder=folder)
    return [str(problem) for problem in raised.value.problems]


# ----------------------------------------------------------------------------------------------------------- defaults
def test_every_key_is_optional(tmp_path: Path) -> None:
    """An empty file is a configuration: nobody needs to copy ours to start."""
    assert load("", folder=tmp_path) == load_settings(None, {})


def test_defaults_are_those_of_the_interface() -> None:
    """Other programs and the documentation rely on these."""
    found = load_settings(None, {})
    assert found.input.kind is InputKind.STDIN
    assert found.slices == SliceSettings()
    assert found.sampling.probability == 1.0
    assert found.labels.ttl_seconds == 30 * 86_400
    assert found.labels.maturity_seconds is None
    assert (found.decide.unit, found.decide.page_budget, found.decide.margin) == ("session", 1.0, 0.05)
    assert (found.serve.host, found.serve.port) == ("127.0.0.1", 9464)
    assert found.privacy.release_min == 11
    assert found.state.pending_max == 1_000_000


def test_every_row_of_the_table_is_a_typed_setting() -> None:
    """The table and the Structs are written apart; a row that no Struct has would be read and then lost."""
    assert set(_leaves(msgspec.to_builtins(load_settings(None, {})))) == set(FIELDS)
    assert {field.section for field in FIELDS.values()} == set(SECTIONS) == set(Settings.__struct_fields__)


def _leaves(node: Mapping[str, object], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in node.items():
        location = prefix + key
        if isinstance(value, dict) and location not in FIELDS:
            found += _leaves(value, f"{location}.")
        else:
            found.append(location)
    return found


@pytest.mark.parametrize("location", FIELDS)
def test_defaults_and_examples_are_fit(location: str) -> None:
    """A message that advises a value which is then refused is worse than none."""
    field = FIELDS[location]
    field.shape.read(field.example)
    if field.default is not None:
        field.shape.read(field.default)


def test_names_that_are_no_dimensions_are_the_contract_s() -> None:
    """A dimension called `speaker` would make a metric label of a person."""
    assert RESERVED_ATTRIBUTES - set(TRANSCRIPT_FIELDS) == NO_DIMENSION


# ----------------------------------------------------------------------------------------------------------- problems
def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """An operator who repairs one line a restart gives up at the third."""
    found = problems(
        "decide: {page_buget: 2, page_budget: lots, margin: 0.9}\nlabels: {ttl: 30}\nserve: {port: 123456}\nfoo: 1\n",
        folder=tmp_path,
    )
    assert found == [
        "decide.page_buget: got an unknown key, want the nearest known key decide.page_budget, "
        "e.g. decide.page_budget: 1.0",
        f"foo: got an unknown key, want one of {', '.join(SECTIONS)}",
        "labels.ttl: got 30, want a duration from 1h to 400d, e.g. 30d",
        'decide.page_budget: got "lots", want a number above 0 up to 100, e.g. 1.0',
        "decide.margin: got 0.9, want a number above 0 up to 0.5, e.g. 0.05",
        "serve.port: got 123456, want a whole number from 0 to 65535, e.g. 9464",
    ]


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("slice: {}", "slices"),
        ("slices: {dimension: [accent]}", "slices.dimensions"),
        ("kafka: {topics: {pair: x}}", "kafka.topics.pairs"),
        ("serve: {page_budget: 1}", "decide.page_budget"),
    ],
)
def test_an_unknown_key_names_the_nearest(text: str, nearest: str, tmp_path: Path) -> None:
    """A key that is silently ignored is the worst mistake: the operator believes it is set."""
    (found,) = problems(text, folder=tmp_path)
    assert f"want the nearest known key {nearest}" in found


@pytest.mark.parametrize(
    "text",
    [
        "kafka: {security: {password: hunter2}}",
        "notify: {pagerduty: {routing_key: hunter2}}",
        "notify: {slack: {webhook_url: hunter2}}",
        "notify: {webhook: {urls: 'https://user:hunter2@example.org/'}}",
        "notify: {webhook: {urls: 'https://example.org/?token=hunter2'}}",
        "serve: {auth: {password: hunter2}}",
        "serve: {auth: {username: a, password_file: [hunter2]}}",
        "privacy: {hash_key: hunter2}",
        "kafka:\n  security:\n password: hunter2\n",
        "hunter2",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    """Configuration ends up in version control and messages in logs; neither may hold a password."""
    found = problems(text, folder=tmp_path)
    assert found
    assert "hunter2" not in "\n".join(found)


def test_a_secret_is_sent_to_its_file(tmp_path: Path) -> None:
    """The refusal says what to write instead."""
    (found,) = problems("kafka: {security: {password: hunter2}}", folder=tmp_path)
    assert found == (
        "kafka.security.password: got a value (not shown), want the path of a file that holds it, "
        "e.g. kafka.security.password_file: /run/secrets/kafka-password"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sampling: {probability: 0.5, labels_per_day: 10}", "sampling: got both"),
        ("sampling: {strata: [site]}", "sampling.strata: got site"),
        ("slices: {dimensions: [accent, speaker]}", "slices.dimensions: got speaker"),
        ("slices: {dimensions: [accent, accent]}", "each once"),
        ("slices: {intersections: [[accent, site]]}", "slices.intersections: got site in [accent, site]"),
        ("slices: {intersections: [[accent, deployment], [deployment, accent]]}", "two different dimensions"),
        ("slices: {canonical: {sector: {a: b}}}", "slices.canonical.sector: got no dimension"),
        ("slices: {demographics: [accent]}", "slices.demographics: got accent"),
        ("labels: {maturity: 30d}", "labels.maturity: got 720 hours"),
        ("input: {kind: files}", "input.transcripts: got nothing"),
        ("input: {kind: directory, transcripts: [a, b], references: c}", "input.transcripts: got 2 paths"),
        ("input: {kind: kafka, transcripts: a, references: b}", "kafka.bootstrap_servers: got nothing"),
        ("kafka: {security: {protocol: SASL_SSL}}", "kafka.security.mechanism: got nothing"),
        ("kafka: {security: {cert_file: a.pem}}", "kafka.security.key_file: got nothing"),
        ("serve: {tls: {key_file: a}}", "serve.tls.cert_file: got nothing"),
        ("serve: {auth: {username: a}}", "serve.auth.password_file: got nothing"),
        ("notify: {webhook: {urls: 'file:///etc/passwd'}}", "notify.webhook.urls: got"),
        ("notify: {webhook: {secret_file: a}}", "notify.webhook.urls: got nothing"),
        ("decide: 5", "decide: got 5, want a mapping"),
        ("[1, 2]", "got a list, want sections"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(text: str, message: str, tmp_path: Path) -> None:
    """Each alone is fit; together nothing useful would happen, and nobody would be told."""
    assert any(message in problem for problem in problems(text, folder=tmp_path))


# ---------------------------------------------------------------------------------------------------------- customers
def test_a_customer_s_own_keys_are_laid_over_everybody_s(tmp_path: Path) -> None:
    """One customer signed a parity objective; nobody else's decisions may change with theirs."""
    text = "decide: {margin: 0.1, unit: call}\ncustomers: {acme: {page_budget: 0.5, page_on_gap: true}, beta: }"
    found = load(text, folder=tmp_path)
    acme = found.customers["acme"]
    assert (acme.page_budget, acme.page_on_gap, acme.margin, acme.unit) == (0.5, True, 0.1, "call")
    assert found.customers["beta"] == found.decide
    core = pipeline_settings(found)
    assert (core.decide_of["acme"].page_budget, core.decide_of["acme"].page_on_gap) == (0.5, True)
    assert (core.decide.page_budget, core.decide.page_on_gap) == (1.0, False)


def test_a_customer_s_decider_is_made_with_its_own_settings(tmp_path: Path) -> None:
    """Settings that stop at the parser would be believed and not kept."""
    core = pipeline_settings(load("customers: {acme: {page_budget: 0.5}}", folder=tmp_path))
    customers = Customers(core.slices, core.decide, Counters(), core.decide_of)
    for name in ("acme", "other"):
        customers.account(Missing(customer=name, labels=("a", "b")))
    assert [decider._settings.page_budget for _, decider in customers.deciders()] == [0.5, 1.0]


def test_a_customer_s_mistakes_are_told_at_once_and_name_the_nearest(tmp_path: Path) -> None:
    """A budget that is misspelt for one customer would silently be everybody's."""
    found = problems(
        "tenants: {allow: [acme, beta]}\n"
        "customers: {acme: {page_buget: 2, margin: 0.9, unit: call, xyz: 1}, bta: {}, beta: 5}",
        folder=tmp_path,
    )
    keys = "detectors, page_budget, page_budget_days, page_on_gap, margin, calibration"
    assert found == [
        "customers.acme.page_buget: got an unknown key, want the nearest known key page_budget, e.g. page_budget: 1.0",
        "customers.acme.margin: got 0.9, want a number above 0 up to 0.5, e.g. 0.05",
        f"customers.acme.unit: got a key that is the same for all customers, want it in decide, here only {keys}",
        f"customers.acme.xyz: got an unknown key, want one of {keys}",
        "customers.bta: got a customer who is not watched, want one of tenants.allow, the nearest is beta",
        "customers.beta: got 5, want a mapping, e.g. customers.beta: {page_budget: 0.5}",
    ]


@pytest.mark.parametrize("location", ["decide", "customers: {acme"])
def test_a_detector_with_a_typo_is_told_the_nearest(location: str, tmp_path: Path) -> None:
    """A detector that does not run is believed to watch."""
    closing = "}" * (location.count("{") + 1)
    (found,) = problems(f"{location}: {{detectors: [page-budget, adwim]{closing}", folder=tmp_path)
    assert "want the nearest known adwin" in found


def test_plain_text_kafka_must_be_asked_for(tmp_path: Path) -> None:
    """Transcripts of clinics cross the network; sending them in the clear is a decision, not a default."""
    kafka = "input: {kind: kafka, transcripts: t, references: r}\nkafka: {bootstrap_servers: 'b:9092', %s}"
    security = "security: {protocol: PLAINTEXT}"
    assert "allow_plaintext" in problems(kafka % security, folder=tmp_path)[0]
    assert load(kafka % f"{security}, allow_plaintext: true", folder=tmp_path).kafka.allow_plaintext


def test_what_follows_from_an_unfit_value_is_not_told(tmp_path: Path) -> None:
    """One mistake, one message: no complaint about intersections of dimensions that could not be read."""
    found = problems("slices: {dimensions: 7, intersections: [[site, accent]]}", folder=tmp_path)
    assert [message.partition(":")[0] for message in found] == ["slices.dimensions"]


# --------------------------------------------------------------------------------------------------------------- YAML
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("decide: {unit: call}\ndecide: {unit: session}", ":2:1: got the key is there twice"),
        ("a: &a [x, x]\nb: [*a, *a]", "anchors and aliases"),
        ("a: !!python/object/apply:os.system [ls]", "tags"),
        ("[" * 5_000, "more than 16 levels"),
        ("a: 'b", "unexpected end of stream"),
        ("a:\n\t- b", "cannot start any token"),
        ("a: 1\n---\na: 2", "another document"),
        ("#" * (FILE_BYTES_MAX + 1), "more than 1 MiB"),
    ],
)
def test_files_that_two_readers_would_read_differently_are_refused(text: str, message: str, tmp_path: Path) -> None:
    """Duplicate keys, anchors and tags are read differently, or cost gigabytes, or run code."""
    (found,) = problems(text, folder=tmp_path)
    assert message in found


def test_norwegian_is_a_language(tmp_path: Path) -> None:
    """YAML 1.1 reads `no` as false and 12:30 as 750; here words are words."""
    found = load(
        "scoring: {profiles: {no: basic}}\nslices: {canonical: {accent: {no: norway, 1:30: x}}}", folder=tmp_path
    )
    assert found.scoring.profiles["no"] == "basic"
    assert found.slices.canonical["accent"] == {"no": "norway", "1:30": "x"}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \x00", b"\xed\xa0\x80"])
def test_bytes_that_are_no_text_are_refused(content: bytes, tmp_path: Path) -> None:
    """Also a binary file given by mistake is the operator's mistake, not ours."""
    path = tmp_path / "wervane.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_settings(path, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The most common mistake of all."""
    with pytest.raises(ConfigError, match=r"absent\.yaml: got no such file"):
        load_settings(tmp_path / "absent.yaml", {})


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_keys = st.sampled_from([part for location in FIELDS for part in location.split(".")]) | st.text(max_size=8)
_trees = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4), max_leaves=12
)


@given(tree=st.dictionaries(st.sampled_from(sorted(SECTIONS)), _trees, max_size=5))
@settings(max_examples=150)
def test_any_tree_gives_settings_or_problems(tree: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the file says, the answer is settings or a list of problems: never a traceback."""
    path = tmp_path_factory.mktemp("config") / "wervane.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    try:
        load_settings(path, {})
    except ConfigError as error:
        assert error.problems
        assert all("\n" not in str(problem) for problem in error.problems)


# --------------------------------------------------------------------------------------------- environment, overrides
def test_the_environment_overrides_the_file_and_the_command_line_both(tmp_path: Path) -> None:
    """The later one wins: file, environment, command line."""
    path = tmp_path / "wervane.yaml"
    path.write_text("serve: {port: 1000}\nlog: {level: error}\nstate: {path: a}", encoding="utf-8")
    environ = {"WERVANE_SERVE__PORT": "2000", "WERVANE_LOG__LEVEL": "debug"}
    found = load_settings(path, environ, {"serve.port": 3000})
    assert (found.serve.port, found.log.level, found.state.path) == (3000, "debug", "a")


def test_lists_and_words_are_easy_in_the_environment() -> None:
    """A manifest's env entry is plain text: commas for lists, no quotes for numbers that are names."""
    found = load_settings(
        None,
        {
            "WERVANE_SLICES__DIMENSIONS": "accent, sector,deployment",
            "WERVANE_SLICES__INTERSECTIONS": "two-way",
            "WERVANE_SLICES__CANONICAL": "{accent: {uk: england}}",
            "WERVANE_KAFKA__GROUP": "123",
            "WERVANE_LABELS__MATURITY": "auto",
        },
    )
    assert found.slices.dimensions == ("accent", "sector", "deployment")
    assert found.slices.intersections == (("accent", "sector"), ("accent", "deployment"), ("sector", "deployment"))
    assert found.slices.canonical == {"accent": {"uk": "england"}}
    assert found.kafka.group == "123"


def test_kubernetes_own_variables_are_left_alone() -> None:
    """A Service called wervane makes Kubernetes set WERVANE_PORT in every pod of the namespace."""
    environ = {"WERVANE_PORT": "tcp://10.0.0.1:9464", "WERVANE_SERVICE_HOST": "10.0.0.1", "PATH": os.defpath}
    assert load_settings(None, environ) == load_settings(None, {})


def test_a_mistake_in_a_variable_names_the_variable(tmp_path: Path) -> None:
    """The operator looks for it in the file otherwise."""
    found = problems("", {"WERVANE_SERVE__PORT": "http", "WERVANE_SERVE__PROT": "1"}, folder=tmp_path)
    assert [message.partition(": got")[0] for message in found] == [
        "serve.prot (from WERVANE_SERVE__PROT)",
        "serve.port (from WERVANE_SERVE__PORT)",
    ]


# ------------------------------------------------------------------------------------------------------- derived, hash
def test_defaults_follow_the_dimensions(tmp_path: Path) -> None:
    """Who only names dimensions gets strata of all of them, and no intersection of a dimension that is not there."""
    found = load("slices: {dimensions: [accent, sector]}", folder=tmp_path).slices
    assert found.strata == ("accent", "sector")
    assert found.intersections == ()


def test_profiles_are_laid_over_the_default(tmp_path: Path) -> None:
    """Naming one language must not send Chinese through English rules."""
    found = load("scoring: {profiles: {hi: basic}}", folder=tmp_path).scoring.profiles
    assert (found["default"], found["zh"], found["hi"]) == ("whisper-en", "chars", "basic")


def test_a_label_budget_replaces_the_probability(tmp_path: Path) -> None:
    """Either the chance or the budget is given, the other follows."""
    found = load("sampling: {labels_per_day: 2000}", folder=tmp_path).sampling
    assert (found.probability, found.labels_per_day) == (None, 2000)


def test_files_that_mean_the_same_have_one_hash(tmp_path: Path) -> None:
    """The hash is exported and stored with state: rewording a file is no change."""
    one = load("decide: {page_budget: 1, unit: session}", folder=tmp_path)
    other = load("# nothing but a comment\nlog:\ndecide:\n  unit: session\n", folder=tmp_path)
    assert one.sha256 == other.sha256 == load_settings(None, {}).sha256
    assert load("decide: {page_budget: 2}", folder=tmp_path).sha256 != one.sha256


def test_settings_cannot_be_changed() -> None:
    """What was validated is what runs."""
    found = load_settings(None, {})
    with pytest.raises(AttributeError):
        found.decide.unit = "call"  # type: ignore[misc]


# -------------------------------------------------------------------------------------------------------------- schema
def test_the_schema_knows_every_field() -> None:
    """Editors complete and check by it."""
    schema = json_schema()
    json.dumps(schema)
    for location, field in FIELDS.items():
        node: Plain = schema
        for part in location.split("."):
            assert isinstance(node, dict)
            properties = node["properties"]
            assert isinstance(properties, dict)
            node = properties[part]
        assert isinstance(node, dict)
        assert node["description"] == field.doc


def test_river_detectors_are_named_in_the_documentation() -> None:
    """The closed set is shown where the setting is described."""
    assert all(f"`{name}`" in FIELDS["decide.detectors"].doc for name in RIVER_DETECTORS)
