"""Nobody can run deploy/compose.yaml on a machine without Docker: what can be known of it without, is checked here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml

from monitor import __version__
from monitor.analysis.simulate import demo_settings
from monitor.config import load_settings
from monitor.settings_source import flatten
from tests.deploy.composed import COMPOSE, DEPLOY, ROOT, Service, interpolated, read
from tests.deploy.servers import required
from tests.kafka.installation import KAFKA_VERSION

COMPOSED = read()
SERVICES = pytest.mark.parametrize("name", COMPOSED.services)
PROMETHEUS_PACKAGE = "package prometheus"
ALERTMANAGER_PACKAGE = "package prometheus-alertmanager"


def checked(*command: str, install: str) -> str:
    """Output of a program that must find nothing wrong."""
    done = subprocess.run(
        [required(command[0], install=install), *command[1:]], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ----------------------------------------------------------------------------------------------------- compose.yaml
def test_it_is_valid_by_the_specification_s_own_schema() -> None:
    """Docker refuses the whole file for one value of the wrong type."""
    schema = ("--builtin-schema", "vendor.compose-spec")
    checked("check-jsonschema", *schema, str(COMPOSE), install="make venv installs it")


@SERVICES
def test_images_are_pinned(name: str) -> None:
    """`latest` is another program every week; what was tested is what a tag names exactly."""
    assert re.fullmatch(r"[a-z./-]+:v?\d+\.\d+\.\d+", COMPOSED.services[name].image)


def test_our_image_is_built_once_and_never_fetched() -> None:
    """Builds of one name at the same time fail now and then; and a registry's `wervane` would be somebody else's."""
    ours = [service for service in COMPOSED.services.values() if service.image.startswith("wervane:")]
    (builder,) = [service for service in ours if service.build is not None]
    assert builder.build is not None
    assert (DEPLOY / builder.build.context).resolve() == ROOT
    assert (ROOT / builder.build.dockerfile).is_file()
    assert {service.image for service in ours} == {f"wervane:{__version__}"}
    assert [service.pull_policy for service in ours if service is not builder] == ["never"] * (len(ours) - 1)
    assert builder.pull_policy == "build"


def test_the_broker_is_the_version_that_the_tests_run() -> None:
    """What is measured about brokers is measured with one version."""
    assert COMPOSED.services["kafka"].image == f"apache/kafka:{KAFKA_VERSION}"


@SERVICES
def test_ports_are_bound_to_the_loopback_address(name: str) -> None:
    """Docker publishes past the host's firewall, and none of these asks for a password."""
    assert [port for port in COMPOSED.services[name].ports if not port.startswith("127.0.0.1:")] == []


@SERVICES
def test_nothing_may_do_more_than_it_must(name: str) -> None:
    """A hole in one of them must end in its container: no root file system to write to, no capability, bounded use."""
    service = COMPOSED.services[name]
    assert service.read_only
    assert service.cap_drop == ["ALL"]
    assert service.security_opt == ["no-new-privileges:true"]
    assert service.logging.driver == "local", "bounded"
    limits = service.deploy.resources.limits
    assert float(limits.cpus) <= 2.0 and re.fullmatch(r"\d+[MG]", limits.memory) and 0 < limits.pids <= 1024
    assert all(re.fullmatch(r"/[a-z/]+:size=\d+m,mode=1777", each) for each in service.tmpfs), "bounded"


@SERVICES
def test_every_mount_is_there(name: str) -> None:
    """Docker makes a folder where a file is missing, and the program says that its configuration is a folder."""
    for mount in COMPOSED.services[name].volumes:
        if mount.type == "volume":
            assert mount.source in COMPOSED.volumes
            continue
        assert mount.type == "bind" and mount.read_only and mount.path.exists()
        assert mount.bind is not None and not mount.bind.create_host_path
        assert mount.path.resolve().is_relative_to(DEPLOY)


def test_every_volume_and_every_configuration_is_used() -> None:
    """What nothing mounts misleads who looks for what is in force."""
    mounts = [mount for service in COMPOSED.services.values() for mount in service.volumes]
    assert {mount.source for mount in mounts if mount.type == "volume"} == set(COMPOSED.volumes)
    mounted = [mount.path.resolve() for mount in mounts if mount.type == "bind"]
    files = [path for folder in ("prometheus", "alertmanager", "grafana") for path in (DEPLOY / folder).rglob("*.*")]
    assert len(files) >= 3
    assert [path for path in files if not any(path.resolve().is_relative_to(root) for root in mounted)] == []


@SERVICES
def test_dependencies_wait_for_what_they_need(name: str) -> None:
    """`depends_on` alone waits for a process, not for a broker that answers."""
    for other, dependency in COMPOSED.services[name].depends_on.items():
        needed = COMPOSED.services[other]
        wanted = "service_completed_successfully" if needed.once else "service_healthy"
        assert dependency.condition == wanted
        assert needed.once or needed.healthcheck is not None


@SERVICES
def test_what_stays_tells_whether_it_is_well_and_what_ends_does_not(name: str) -> None:
    """Others wait for it; and the state is the first thing that somebody looks at."""
    service = COMPOSED.services[name]
    if service.once:
        assert service.healthcheck is None
        return
    assert service.restart == "unless-stopped"
    assert service.healthcheck is not None
    assert service.healthcheck.test[0] == "CMD", "without a shell: not every image has one"


def test_there_are_no_secrets() -> None:
    """A password in a file of an example is a password in production."""
    for service in COMPOSED.services.values():
        for key in service.environment:
            assert not re.search(r"PASSWORD|SECRET_KEY|TOKEN|CREDENTIAL", key), key


def test_commands_hold_after_interpolation() -> None:
    """A dollar that Compose takes for a variable of its own becomes an empty string, with a warning."""
    for service in COMPOSED.services.values():
        for text in (*service.command, *service.environment.values()):
            interpolated(text, {})
    assert [interpolated(text, {}) for text in COMPOSED.services["traffic"].command][-1] == "3600"


# ------------------------------------------------------------------------------------------------ what it mounts
def test_the_agent_s_settings_are_fit_and_those_of_the_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The incident has the name of its slice only where accent and site are dimensions."""
    for variable in [name for name in os.environ if name.startswith("WERVANE_")]:
        monkeypatch.delenv(variable)
    settings = load_settings(DEPLOY / "wervane.yaml", {})
    demo = load_settings(None, {}, flatten(demo_settings())[0])
    for section in ("slices", "sampling", "scoring", "decide"):
        assert getattr(settings, section) == getattr(demo, section), section
    assert settings.labels.maturity_seconds == demo.labels.maturity_seconds
    assert settings.serve.host == "0.0.0.0", "else only the container itself could ask it"
    assert f"127.0.0.1:{settings.serve.port}:{settings.serve.port}" in agent().ports
    assert settings.kafka.bootstrap_servers[0] == COMPOSED.services["traffic"].command[2]
    state = next(mount for mount in agent().volumes if mount.type == "volume")
    assert settings.state.path == state.target
    made = " ".join(COMPOSED.services["input-topics"].command)
    assert all(f"{name}:" in made for name in (*settings.input.transcripts, *settings.input.references))


def agent() -> Service:
    return COMPOSED.services["agent"]


def test_check_config_says_so() -> None:
    """The command of the README, on the file of the README."""
    assert "ok" in checked("wervane", "check-config", "deploy/wervane.yaml", install="make venv installs it")


def test_prometheus_s_own_check_passes() -> None:
    """A syntax error is a Prometheus that does not start."""
    checked("promtool", "check", "config", "deploy/prometheus/prometheus.yml", install=PROMETHEUS_PACKAGE)


def test_alertmanager_s_own_check_passes() -> None:
    """Likewise."""
    checked("amtool", "check-config", "deploy/alertmanager/alertmanager.yml", install=ALERTMANAGER_PACKAGE)


def test_every_address_is_a_service_of_the_file() -> None:
    """A target that is spelt differently is down for ever."""
    texts = [path.read_text() for path in (DEPLOY / "wervane.yaml", DEPLOY / "prometheus/prometheus.yml")]
    texts += [path.read_text() for path in (DEPLOY / "grafana").rglob("*.yml")]
    named = re.findall(r'["/]([a-z]+):\d{4,5}', "\n".join(texts))
    assert set(named) <= set(COMPOSED.services)
    assert {"agent", "alertmanager", "prometheus", "kafka"} <= set(named)


class _Datasource(msgspec.Struct):
    name: str
    uid: str
    type: str
    access: str
    url: str


class _Datasources(msgspec.Struct):
    apiVersion: int
    datasources: list[_Datasource]


def test_grafana_is_given_one_datasource_whose_name_stays() -> None:
    """Dashboards and links name it by its uid; without one Grafana invents another on every new volume."""
    path = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    provisioned = msgspec.convert(yaml.safe_load(path.read_text()), _Datasources)
    (only,) = provisioned.datasources
    assert provisioned.apiVersion == 1
    assert (only.uid, only.type, only.access) == ("wervane-prometheus", "prometheus", "proxy")
    assert only.url == "http://prometheus:9090"


# ---------------------------------------------------------------------------------------------------- Dockerfile
def test_the_image_holds_what_was_tested_together_and_runs_as_nobody() -> None:
    """An image that resolves its packages anew is another program on every build."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("ARG PYTHON=")] == ["ARG PYTHON=python:3.11.14-slim-bookworm"]
    assert [line for line in lines if line.startswith("FROM ")] == ["FROM ${PYTHON} AS build", "FROM ${PYTHON}"]
    assert any("PIP_CONSTRAINT=deploy/constraints.txt" in line for line in lines)
    assert "USER 65532:65532" in lines
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1] if word[0] != "-"]
    assert [name for name in copied if not name.startswith("/") and not (ROOT / name).exists()] == []


def test_the_build_is_sent_only_what_it_copies() -> None:
    """Else a build uploads the environment, the history, and what lies beside them."""
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    assert allowed == copied


def test_the_readme_of_deploy_names_every_address() -> None:
    """Who has started it wants to know where to look."""
    readme = (DEPLOY / "README.md").read_text()
    for service in COMPOSED.services.values():
        for port in service.ports:
            assert port.split(":")[1] in readme
    assert Path(COMPOSE).name in readme
