"""The core is pure: without a clock, files, threads or chance in it, the same records give the same bytes."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import monitor

PACKAGE = Path(monitor.__file__).parent
CORE = sorted((PACKAGE / "core").glob("**/*.py"))

ALLOWED = frozenset({
    "__future__", "abc", "bisect", "collections", "dataclasses", "difflib", "enum", "functools", "hashlib", "heapq",
    "itertools", "math", "operator", "re", "statistics", "struct", "types", "typing", "unicodedata", "zlib",
})  # fmt: skip
"""Of the standard library, what computes and does nothing else. A list of what is allowed, so that a module nobody
thought of (subprocess, ctypes) is found as well."""

CLOCKLESS = frozenset({"gmtime", "strftime", "struct_time"})
"""Parts of `time` that turn a number into a calendar date."""

EFFECTS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})


def impurities(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if _is_outside(name.name) and name.name != "time")
            case ast.ImportFrom(module="time", names=names):
                yield from (f"time.{name.name}" for name in names if name.name not in CLOCKLESS)
            case ast.ImportFrom(module=str(module)) if _is_outside(module):
                yield module
            case ast.Attribute(value=ast.Name(id="time"), attr=attribute) if attribute not in CLOCKLESS:
                yield f"time.{attribute}"
            case ast.Attribute(value=ast.Attribute(attr="random"), attr=attribute) if attribute != "default_rng":
                yield f"numpy.random.{attribute}"
            case ast.Call(func=ast.Attribute(attr="default_rng"), args=[]):
                yield "numpy.random.default_rng without a seed"
            case ast.Call(func=ast.Name(id=name)) if name in EFFECTS:
                yield f"{name}()"


def _is_outside(module: str) -> bool:
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names and top not in ALLOWED


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_core_reads_nothing_but_its_arguments(path: Path) -> None:
    """One clock read in the core, and a replay gives other incidents than the live run did."""
    assert list(impurities(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "from pathlib import Path",
        "from datetime import datetime",
        "import time\ntime.time()",
        "from time import monotonic",
        "import numpy as np\nnp.random.normal()",
        "import numpy as np\nnp.random.default_rng()",
        "print('x')",
        "def f():\n    import logging",
        "import concurrent.futures",
    ],
)
def test_what_is_impure_is_found(source: str) -> None:
    """A check that finds nothing may also be a check that looks at nothing."""
    assert list(impurities(source))


OWNERS: dict[str, str | tuple[str, ...]] = {
    "confluent_kafka": "adapters/kafka/fast",
    "jinja2": "adapters/",
    "kafka": "adapters/",
    "prometheus_client": "adapters/",
    "rapidfuzz": "core/alignment.py",
    "sqlite3": "adapters/",
    "typer": ("cli.py", "commands/"),
    "whisper_normalizer": "core/english_rules.py",
    "yaml": "settings_source.py",
    "zstandard": "adapters/",
}
"""Who may import a library: one module where it can be, else the side that touches bytes."""


def test_each_library_has_its_place() -> None:
    """A library that can be replaced in one place can be replaced."""
    misplaced = [
        f"{path} imports {name}" for path, name in _imports() if name in OWNERS and not path.startswith(OWNERS[name])
    ]
    assert misplaced == []


def _imports() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.glob("**/*.py")):
        inside = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((inside, name.name.partition(".")[0]) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield inside, node.module.partition(".")[0]
