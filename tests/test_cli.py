"""The command line: exit codes that scripts can rely on, nothing secret on the screen, and an answer at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.adapters.jsonl import InputUnreadable
from monitor.adapters.store_files import StateRefused
from monitor.cli import execute, spread
from monitor.config import Settings

HEAVY = ("numpy", "river", "jiwer", "rapidfuzz", "scipy", "whisper_normalizer", "structlog", "yaml", "rich", "jinja2")


class Stand:
    """Stands in for the agent: remembers what it was called with, and raises what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.raises: BaseException | None = None
        self.passed = True
        for module, function in (("running", "run_agent"), ("replaying", "replay"), ("demonstration", "demo")):
            stand_in = types.ModuleType(f"monitor.{module}")
            setattr(stand_in, function, self._function(function))
            monkeypatch.setitem(sys.modules, f"monitor.{module}", stand_in)
            monkeypatch.setattr(f"monitor.{module}", stand_in, raising=False)

    def _function(self, name: str) -> Callable[..., object]:
        def call(settings: Settings | None = None, **arguments: object) -> object:
            self.calls.append((name, {"settings": settings, **arguments}))
            if self.raises is not None:
                raise self.raises
            if name == "replay":
                return {"pairs": 3}
            return types.SimpleNamespace(passed=self.passed, document={"passed": self.passed})

        return call


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(monkeypatch)


def replay(folder: Path, *more: str) -> int:
    return execute(["replay", "--transcripts", "t1", "t2", "--references", "r", "--out", str(folder), *more])


# ------------------------------------------------------------------------------------------------------- at once
def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    """A person who asks for help on a small machine does not wait for numpy."""
    program = (
        "import sys\nfrom monitor.cli import execute\ncode = execute(['--help'])\n"
        f"print(code, sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert ended.stderr.strip() == "0 []"
    assert "check-config" in ended.stdout


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read it."""
    assert execute(["--version"]) == 0
    assert capsys.readouterr().out.split()[0] == "wervane"


# ---------------------------------------------------------------------------------------------------- exit codes
@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["replay"], ["run", "--nonsense"], ["demo", "--port", "x"], ["schema", "nothing"]]
)
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage errors go to stderr, so that a pipe gets nothing that looks like a result."""
    assert execute(arguments) == 2
    assert arguments == [] or capsys.readouterr().out == ""


def test_every_problem_of_a_configuration_is_told_before_anything_starts(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, one line for each, on stderr."""
    path = tmp_path / "wervane.yaml"
    path.write_text("decide: {page_budget: lots}\nlabels: {ttl: 5}\nfoo: 1\n")
    assert execute(["run", "--config", str(path)]) == 2
    captured = capsys.readouterr()
    assert [line.partition(":")[0] for line in captured.err.splitlines()] == ["foo", "labels.ttl", "decide.page_budget"]
    assert captured.out == ""
    assert stand.calls == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputUnreadable("t.jsonl", "no such file"), 4, "wervane: t.jsonl: no such file"),
        (StateRefused("state x.db was written by a newer version"), 4, "wervane: state x.db was written by a newer"),
        (PermissionError(13, "Permission denied", "/out"), 4, "wervane: /out: Permission denied"),
        (ValueError("the patient's name"), 70, "wervane: internal error: ValueError at test_cli.py:"),
    ],
)
def test_errors_are_sorted_by_whose_fault_they_are(
    error: Exception, code: int, message: str, stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script retries 4, repairs 2 and reports 70."""
    stand.raises = error
    assert replay(tmp_path) == code
    assert message in capsys.readouterr().err


def test_our_own_failure_shows_neither_message_nor_locals(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exceptions of parsers quote what they could not parse: transcripts."""
    stand.raises = ValueError("canary phrase")
    replay(tmp_path)
    captured = capsys.readouterr()
    assert "canary" not in captured.err + captured.out
    logged = json.loads(captured.err.splitlines()[0])
    assert logged["event"] == "internal_error"
    assert any("test_cli.py" in frame for frame in logged["frames"])


def test_interruption_is_130(stand: Stand, tmp_path: Path) -> None:
    """As shells expect after Ctrl-C."""
    stand.raises = KeyboardInterrupt()
    assert replay(tmp_path) == 130


def test_the_demo_checks_itself(stand: Stand) -> None:
    """`make demo` fails where the incident was not the right one; without --exit, a demo is only a demo."""
    assert execute(["demo", "--exit"]) == 0
    stand.passed = False
    assert execute(["demo", "--exit"]) == 1
    assert execute(["demo"]) == 0


# ----------------------------------------------------------------------------------------------------- arguments
def test_a_shell_s_glob_may_follow_a_flag() -> None:
    """`--transcripts 2026-*.jsonl` is several words by the time we see it."""
    assert spread(["replay", "--transcripts=a", "b", "--json", "--references", "c", "d", "--", "e", "f"]) == [
        *("replay", "--transcripts=a", "--transcripts", "b", "--json"),
        *("--references", "c", "--references", "d", "--", "e", "f"),
    ]


def test_replay_passes_on_what_was_asked(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths, output folder and the pinned clock reach the agent; --json prints one document."""
    assert replay(tmp_path, "--now", "2026-03-08T12:06:00+01:00", "--json") == 0
    ((_, arguments),) = stand.calls
    assert arguments["transcripts"] == [Path("t1"), Path("t2")]
    assert arguments["references"] == [Path("r")]
    assert arguments["now"] == 1_772_967_960.0
    assert json.loads(capsys.readouterr().out) == {"pairs": 3}


@pytest.mark.parametrize("now", ["yesterday", "2026-03-08T12:06:00", "-5", "9" * 30])
def test_a_clock_without_offset_is_refused(now: str, stand: Stand, tmp_path: Path) -> None:
    """A local time would mean another moment on another machine."""
    assert replay(tmp_path, f"--now={now}") == 2
    assert stand.calls == []


@pytest.mark.parametrize("stages", ["route", "route,score", "route,score,nonsense", "route,route,score,decide"])
def test_stages_apart_need_topics_between_them(stages: str, stand: Stand) -> None:
    """Without Kafka, half a pipeline would silently never decide."""
    assert execute(["run", "--stages", stages]) == 2
    assert stand.calls == []


def test_an_archive_needs_neither_broker_nor_pager(stand: Stand, tmp_path: Path) -> None:
    """The live configuration is fit for replay."""
    path = tmp_path / "wervane.yaml"
    path.write_text("notify: {slack: {webhook_url_file: /run/secrets/slack}}")
    assert replay(tmp_path, "--config", str(path)) == 0


# ------------------------------------------------------------------------------------------------------- results
@pytest.mark.parametrize(("serve", "said"), [
    ("{host: 0.0.0.0}", "any host can read metrics and page"),
    ("{host: 0.0.0.0, auth: {username: scrape, password_file: p}}", "sees the password"),
    ("{host: 127.0.0.1}", ""),
])  # fmt: skip
def test_check_config_notes_who_may_read_the_page(
    serve: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever opens the page to a network should mean it; it is no error, as a mesh or a policy may guard it."""
    path = tmp_path / "wervane.yaml"
    path.write_text(f"serve: {serve}")
    assert execute(["check-config", str(path)]) == 0
    noted = capsys.readouterr().err
    assert said in noted and bool(said) is bool(noted)


def test_check_config_says_ok_or_lists_problems_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For pipelines that check configurations before they are rolled out."""
    path = tmp_path / "wervane.yaml"
    path.write_text("serve: {port: 1}")
    assert execute(["check-config", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["settings"]["serve"]["port"]) == (True, 1)
    path.write_text("serve: {prot: 1}")
    assert execute(["check-config", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["problems"][0]["path"] == "serve.prot"


@pytest.mark.parametrize("name", ["config", "transcript", "reference", "outcome"])
def test_schemas_are_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Producers validate against them."""
    assert execute(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org/")


def test_replay_tells_a_person_what_was_found(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence that a pager would show, and where the report is."""
    incident = {"level": "page", "summary": "england 22.2 %"}
    lines = [json.dumps(incident | {"state": state}) for state in ("firing", "updated")]
    (tmp_path / "incidents.jsonl").write_text("\n".join(lines) + "\n")
    assert replay(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == ["page firing: england 22.2 %", f"results in {tmp_path}"]


# ------------------------------------------------------------------------------------------------------- signals
def test_sigterm_asks_run_to_stop_and_is_no_failure() -> None:
    """Kubernetes ends every pod this way; a clean stop must not look like a crash."""
    program = (
        "import sys, types, monitor\nfrom monitor.cli import execute\n"
        "running = types.ModuleType('monitor.running')\n"
        "def run_agent(settings, *, stop, log):\n    print('ready', flush=True)\n    assert stop.wait(20)\n"
        "running.run_agent = run_agent\nsys.modules['monitor.running'] = monitor.running = running\n"
        "sys.exit(execute(['run']))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as stdout:
        assert stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """`wervane schema | head -1` prints one line and no traceback."""
    command = f"{sys.executable} -m monitor schema | head -1"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=30)
    assert (ended.stdout, ended.stderr) == ("{\n", "")
