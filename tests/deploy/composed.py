"""Decides how the tests read deploy/compose.yaml: as what we use of the specification, and as nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import yaml

import monitor

ROOT = Path(monitor.__file__).parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A misspelt key is an error here; Docker warns of some and ignores others."""


class Bind(_Strict):
    create_host_path: bool
    selinux: str


class Mount(_Strict):
    type: str
    source: str
    target: str
    read_only: bool = False
    bind: Bind | None = None

    @property
    def path(self) -> Path:
        """On this machine, of a bind mount."""
        return DEPLOY / self.source


class Healthcheck(_Strict):
    test: list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str
    start_interval: str


class Dependency(_Strict):
    condition: str


class Build(_Strict):
    context: str
    dockerfile: str


class Limits(_Strict):
    cpus: str
    memory: str
    pids: int


class Resources(_Strict):
    limits: Limits


class Deploy(_Strict):
    resources: Resources


class Logging(_Strict):
    driver: str


class Service(_Strict):
    image: str
    restart: str
    read_only: bool
    cap_drop: list[str]
    security_opt: list[str]
    logging: Logging
    deploy: Deploy
    pull_policy: str = ""
    build: Build | None = None
    hostname: str = ""
    command: list[str] = []
    environment: dict[str, str] = {}
    ports: list[str] = []
    volumes: list[Mount] = []
    tmpfs: list[str] = []
    depends_on: dict[str, Dependency] = {}
    healthcheck: Healthcheck | None = None
    stop_grace_period: str = ""

    @property
    def once(self) -> bool:
        """Whether it does something and ends."""
        return self.restart == "no"


class Compose(_Strict):
    name: str
    services: dict[str, Service]
    volumes: dict[str, None]


def read() -> Compose:
    """The file, its extension fields (x-...) left out."""
    tree = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return msgspec.convert({key: value for key, value in tree.items() if not key.startswith("x-")}, Compose)


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """As Compose does: `${NAME:-default}`, and `$$` for a dollar.

    >>> interpolated("${SPEED:-60} $${topic}", {}), interpolated("${SPEED:-60}", {"SPEED": "1"})
    ('60 ${topic}', '1')
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        assert found["name"], f"a dollar that is neither a variable nor doubled in {text!r}"
        return variables.get(found["name"]) or found["default"]

    return re.sub(r"\$\$|\$\{(?P<name>[A-Z_]+):-(?P<default>[^}]*)\}|\$", value, text)
