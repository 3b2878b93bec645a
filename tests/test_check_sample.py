"""`check-config --sample`: what a customer's messages would become, before anything is started."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import monitor
from monitor.cli import execute
from monitor.core.records import Kind
from monitor.mapping_presets import PRESETS
from monitor.settings_mapping import REQUIRED

PAGE = Path(monitor.__file__).parent.parent / "docs" / "mapping.md"
NOW = ("--now", "2026-03-12T00:00:00Z")
CONFIGURATION = """
input:
  mapping:
    transcripts: {id: id, ts: at, customer: "'acme'", deployment: site, text: heard, confidence: avg(scores)}
"""
GOOD = {"id": 7, "at": "2026-03-11T08:00:00Z", "site": "wards", "heard": "yes", "scores": [0.5, 1.0]}


def check(folder: Path, sample: str, *more: str, configuration: str = CONFIGURATION) -> int:
    (folder / "wervane.yaml").write_text(configuration)
    (folder / "sample.jsonl").write_text(sample)
    return execute(
        ["check-config", str(folder / "wervane.yaml"), "--sample", str(folder / "sample.jsonl"), *NOW, *more]
    )


# ----------------------------------------------------------------------------------------------------------- for people
def test_the_page_shows_what_the_program_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worked example that does not work is the first thing a newcomer tries."""
    page = PAGE.read_text(encoding="utf-8")
    blocks = {
        language: re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("yaml", "json", "console")
    }
    command, _, output = blocks["console"][0].partition("\n")
    monkeypatch.chdir(tmp_path)
    Path("wervane.yaml").write_text(blocks["yaml"][0])
    Path("sample.jsonl").write_text(blocks["json"][0])
    assert execute(command.removeprefix("$ wervane ").split()) == 1
    assert capsys.readouterr().out == output


def test_the_page_lists_the_presets() -> None:
    """Who has a known recogniser must see that half of the work is done, and which half is not."""
    page = PAGE.read_text(encoding="utf-8")
    for name, preset in PRESETS.items():
        left = ", ".join(f"`{field}`" for field in REQUIRED[Kind.TRANSCRIPT] if field not in preset.rules)
        assert f"| `{name}` | [{preset.shape}]({preset.source}) | {left} |" in page


def test_what_was_taken_is_shown_with_where_it_came_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reader compares field by field with what they meant."""
    assert check(tmp_path, json.dumps(GOOD)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["id", "7", "<-", "id"] in lines
    assert ["customer", "acme", "<-", "'acme'"] in lines
    assert ["confidence", "0.75", "<-", "avg(scores)"] in lines


def test_a_constant_without_its_own_quotes_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The most common mistake: YAML has taken the quotes away, and a field of that name is looked for."""
    assert check(tmp_path, json.dumps(GOOD), configuration=CONFIGURATION.replace("\"'acme'\"", "'acme'")) == 1
    out = capsys.readouterr().out
    assert "rejected, unmapped_customer" in out
    assert "for a constant write \"'acme'\"" in out


def test_a_failed_expression_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`unmapped_confidence` of a field that is optional is a riddle without the expression that failed."""
    assert check(tmp_path, json.dumps({**GOOD, "scores": None})) == 1
    out = capsys.readouterr().out
    assert re.search(r"confidence +\(could not be evaluated\) +<- avg\(scores\)", out)


def test_nothing_is_shown_that_a_terminal_would_obey(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sample is other people's text; an escape sequence in it could hide what follows."""
    assert (
        check(tmp_path, json.dumps({**GOOD, "heard": "a\x1b[2Jb\u202e", "site": "\x1b]0;x\x07", "id": "\u202e"})) == 1
    )
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())


# --------------------------------------------------------------------------------------------------------- for programs
def test_the_same_as_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For pipelines that check a configuration against recorded messages before it is rolled out."""
    broken = {**GOOD, "at": "yesterday"}
    assert check(tmp_path, f"{json.dumps(GOOD)}\n\n{json.dumps(broken)}\n", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    first, second = document["messages"]
    assert (document["ok"], document["mapping"], document["kind"]) == (
        False,
        "input.mapping.transcripts",
        "transcripts",
    )
    assert (first["outcome"], first["record"]["text"], first["by"]["id"]) == ("accepted", "yes", "id")
    assert (second["outcome"], second["reason"], second["record"]) == ("rejected", "ts_format", {})
    assert second["found"]["ts"] == "yesterday"


# -------------------------------------------------------------------------------------------------------------- samples
@pytest.mark.parametrize(
    ("sample", "count"),
    [
        (json.dumps(GOOD, indent=2), 1),
        (json.dumps([GOOD, GOOD], indent=2), 2),
        (f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}", 2),
        (json.dumps({"$value": GOOD, "$key": "k", "$headers": {"a": "b"}}), 1),
    ],
)
def test_samples_come_in_the_forms_people_have(
    sample: str, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A vendor's documentation has one document over many lines; a console consumer gives lines."""
    assert check(tmp_path, sample, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [message["outcome"] for message in document["messages"]] == ["accepted"] * count


def test_the_contract_s_own_json_and_tombstones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a mapping the command still answers: what would this producer's messages become?"""
    own = {"schema": 1, "id": "u-1", "ts": "2026-03-11T08:00:00Z", "text": "yes", "annotator": "a\n"}
    sample = json.dumps(own) + '\n{"$key": "u-1", "$value": null}\n{"schema": 1}\n'
    assert check(tmp_path, sample, "--kind", "references", configuration="") == 1
    out = capsys.readouterr().out
    assert "as the contract's own JSON" in out
    assert "taken, but for what was changed in annotator" in out
    assert "erases an utterance" in out
    assert "rejected, missing_id" in out


def test_customers_who_are_not_watched_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent would reject them, so the sample must not look good."""
    assert check(tmp_path, json.dumps(GOOD), configuration=f"tenants: {{allow: [other]}}{CONFIGURATION}") == 1
    assert "tenant_not_allowed" in capsys.readouterr().out


def test_long_samples_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gigabyte by mistake must not scroll for an hour."""
    assert check(tmp_path, f"{json.dumps(GOOD)}\n" * 130) == 0
    assert capsys.readouterr().out.endswith("100 messages (30 more in the file): 100 accepted\n")


# ------------------------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("more", "code"),
    [(("--topic", "calls"), 2), (("--kind", "transcript"), 2), (("--sample", "absent.jsonl"), 4)],
)
def test_mistakes_in_the_command_are_told(more: tuple[str, ...], code: int, tmp_path: Path) -> None:
    """A topic that is not there would silently be read by another mapping."""
    assert check(tmp_path, json.dumps(GOOD), *more) == code


def test_options_of_a_sample_need_one(tmp_path: Path) -> None:
    """`check-config FILE --topic x` would otherwise look as if the topic had been checked."""
    (tmp_path / "wervane.yaml").write_text("")
    assert execute(["check-config", str(tmp_path / "wervane.yaml"), "--topic", "calls"]) == 2
    assert check(tmp_path, "\n") == 4


# -------------------------------------------------------------------------------------------------------- configuration
KAFKA = """
kafka: {bootstrap_servers: ["b:9093"]}
input:
  kind: kafka
  transcripts: [calls-v2, clinic]
  references: corrections
  mapping: %s
"""


def problems(folder: Path, mapping: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    (folder / "wervane.yaml").write_text(KAFKA % mapping)
    assert execute(["check-config", str(folder / "wervane.yaml")]) == 2
    return capsys.readouterr().err.splitlines()


def test_every_problem_of_a_mapping_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its place: an expression is written where no editor knows its language."""
    mapping = """{
      calls-v2: {preset: deepgram, customre: a, text: ["a[", "lenght(b)"], attributes.le: x, ts_unit: h, final: true},
      clinc: whisper, clinic: wisper, references: {id: "'x'", ts: a, text: b, customer: c}, corrections: 5}"""
    assert problems(tmp_path, mapping, capsys) == [
        "input.mapping.calls-v2.customre: got an unknown field, want the nearest known customer",
        "input.mapping.calls-v2.text[0]: got an expression that is none (it ends too early, at character 3), "
        "want JMESPath, e.g. results[0].alternatives[0].transcript",
        "input.mapping.calls-v2.text[1]: got an expression that is none (unknown function lenght(), at character 1; "
        "there is length), want JMESPath, e.g. results[0].alternatives[0].transcript",
        "input.mapping.calls-v2.attributes.le: got an attribute that cannot be kept, want a name of small letters, "
        "digits and _, that is none of the contract's own, e.g. attributes.site",
        "input.mapping.calls-v2.ts_unit: got \"h\", want one of s, ms, us, ns, e.g. ts_unit: s",
        "input.mapping.calls-v2.final: got true, want a JMESPath expression, or a list of 1 to 10, "
        'e.g. final: "`true`"',
        "input.mapping.calls-v2: got nothing for customer, deployment, want an expression for each of these, which "
        "preset deepgram leaves open, e.g. customer: \"'acme'\" (a constant; without the inner quotes it would be a "
        "field of the message)",
        "input.mapping.clinc: got no topic of input.transcripts or input.references, want the nearest known clinic",
        'input.mapping.clinic.preset: got "wisper", want the nearest known whisper, e.g. preset: deepgram',
        "input.mapping.references.id: got a constant, want an expression: all utterances would be one, e.g. id: $key",
        "input.mapping.references.customer: got an unknown field, want nothing: a reference has it from its transcript",
        "input.mapping.corrections: got 5, want the name of a preset, or a mapping from field to expression, "
        "e.g. deepgram",
    ]  # fmt: skip


def test_what_is_no_mapping_at_all_is_one_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list in the wrong place must not give a page of consequences."""
    assert len(problems(tmp_path, "[a, b]", capsys)) == 1
    assert len(problems(tmp_path, "{'a b': whisper}", capsys)) == 1


def test_several_topics_but_each_of_one_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A topic in both lists would be read twice, each half rejected."""
    text = (KAFKA % "{}").replace("references: corrections", "references: [corrections, clinic]")
    (tmp_path / "wervane.yaml").write_text(text)
    assert execute(["check-config", str(tmp_path / "wervane.yaml")]) == 2
    assert capsys.readouterr().err.startswith("input.references: got clinic, want topics that are not among")


def test_a_topic_named_like_the_other_input_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its entry would hold for all transcripts as well, by rules that were written for corrections."""
    text = (KAFKA % "{transcripts: {id: a, ts: b, text: c}}").replace("corrections", "transcripts")
    (tmp_path / "wervane.yaml").write_text(text)
    assert execute(["check-config", str(tmp_path / "wervane.yaml")]) == 2
    assert "and of a topic of the other input" in capsys.readouterr().err


def test_null_leaves_out_what_a_preset_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A preset's confidence may be of no use to somebody whose wrapper changes it."""
    mapping = "{transcripts: {preset: deepgram, customer: c, deployment: d, confidence: null, model: null}}"
    (tmp_path / "wervane.yaml").write_text(KAFKA % mapping)
    assert execute(["check-config", str(tmp_path / "wervane.yaml"), "--json"]) == 0
    rules = json.loads(capsys.readouterr().out)["settings"]["input"]["mapping"]["transcripts"]["rules"]
    assert {"text", "language", "customer"} < set(rules)
    assert not {"confidence", "model"} & set(rules)
