"""Decides how tests run Prometheus with the shipped rules."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import yaml

from tests.deploy.servers import required
from tests.rules.alertmanagers import ROOT, asked, free_port, server

RULES = ROOT / "deploy/prometheus/wervane.rules.yml"


class Value(NamedTuple):
    """One series of an answer."""

    labels: Mapping[str, str]
    value: float


def hurried_rules(folder: Path, groups: Sequence[str] = ()) -> Path:
    """The shipped rules, of these groups or all; minutes pass in a second."""
    rules = yaml.safe_load(RULES.read_text())
    rules["groups"] = [group for group in rules["groups"] if not groups or group["name"] in groups]
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.update({name: seconds for name, seconds in (("for", "1s"), ("keep_firing_for", "3s")) if name in rule})
    path = folder / "wervane.rules.yml"
    path.write_text(json.dumps(rules))
    return path


@contextmanager
def prometheus(folder: Path, configuration: Mapping[str, object], *flags: str) -> Iterator[str]:
    """Its address; the storage is `folder`/prometheus, and may hold the past."""
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    address = f"127.0.0.1:{free_port()}"
    command = [
        required("prometheus", install="package prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        "--storage.tsdb.retention.time=400d",
        f"--web.listen-address={address}",
        *flags,
    ]
    with server(command, folder / "prometheus.log", f"http://{address}/-/ready"):
        yield address


def query(address: str, expression: str) -> list[Value]:
    """What it answers now."""
    answer = asked(f"http://{address}/api/v1/query?query={quote(expression)}")
    assert isinstance(answer, dict) and answer["status"] == "success", answer
    return [Value(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]
