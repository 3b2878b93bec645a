"""Documents that lie are worse than none: what can be checked against the tree is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import monitor
from monitor import settings_table
from monitor.cli import app

ROOT = Path(monitor.__file__).parent.parent
PACKAGE = ROOT / "monitor"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_configuration_page_is_the_table_s() -> None:
    """`make docs` writes it; a setting that is not described does not exist for anybody."""
    assert text("docs/configuration.md") == settings_table.markdown()


def test_the_code_map_names_every_module_and_no_other() -> None:
    """A map with a missing street is how newcomers get lost."""
    code_map = text("ARCHITECTURE.md").partition("## Code map")[2].partition("## Direction")[0]
    named = set(re.findall(r"`([a-z_/]+\.py)`", code_map))
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("**/*.py")}
    assert named == {module for module in modules if not module.endswith("__init__.py")}


def test_architecture_fits_into_one_reading() -> None:
    """About 150 lines: what nobody reads to its end is not read."""
    assert len(text("ARCHITECTURE.md").splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    """Links to files of this repository, and paths in backquotes that look like ones."""
    content = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", content) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    paths = re.findall(r"`((?:monitor|tests|docs|deploy|helm)/[\w./-]+)`", content)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_readme_names_every_command_and_every_make_target() -> None:
    """A command that is only found by reading the code is not offered."""
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    readme = text("README.md")
    assert {command for command in commands if f"wervane {command}" not in readme} == set()
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", readme)) - {"it"} <= targets


def test_decisions_have_their_four_parts() -> None:
    """Who comes later wants to know what else was considered."""
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        parts = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert parts == ["Context", "Options", "Decision", "Consequences"], page.name


def test_constraints_pin_exactly_and_name_no_address() -> None:
    """CI, the Makefile and the image install what was tested together, from whatever index is configured."""
    lines = [line for line in text("deploy/constraints.txt").splitlines() if not line.startswith("#")]
    assert [line for line in lines if re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) is None] == []


def test_every_dependency_is_pinned() -> None:
    """A dependency without a pin is another program on every machine."""
    declared = re.findall(
        r'^    "([a-zA-Z][\w-]*)', text("pyproject.toml").partition("[project.scripts]")[0], re.MULTILINE
    )
    pinned = {
        re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in text("deploy/constraints.txt").split()
    }
    assert {name for name in declared if re.sub(r"[-_.]+", "-", name).lower() not in pinned} == set()


def test_nothing_names_the_machine_it_was_written_on() -> None:
    """A path of one developer's machine works on one developer's machine."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("no git, or no clone")
    needles = (re.compile(rb"/" + rb"work/"), re.compile(rb"/" + rb"root/"), re.compile(rb"\.\./" + rb"shared"))
    for name in listed.stdout.splitlines():
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        assert not any(needle.search(content) for needle in needles), name


def test_the_program_s_help_names_its_exit_codes_in_the_readme() -> None:
    """Scripts rely on them, so they are written where people look."""
    helped = subprocess.run([sys.executable, "-m", "monitor", "--help"], capture_output=True, text=True, check=True)
    assert "replay" in helped.stdout
    assert "Exit codes: 0 done, 1 the answer is no, 2 usage or configuration" in text("README.md")
