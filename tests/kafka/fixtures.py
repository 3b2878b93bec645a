"""Decides which brokers a session of tests has: one for all, one more for sessions with passwords and certificates.

A test takes topics, groups and members of its own (`broker.unique`), not a broker of its own: a start costs seconds of
two cores. What it did to the broker's process (kill, stop, freeze) is undone after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NoReturn

import pytest

from tests.kafka.broker import Broker
from tests.kafka.installation import NotInstalled
from tests.kafka.proxy import Proxy

_NOT_INSTALLED = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The session's broker, without encryption; `broker.proxied` are listeners for `proxy`."""
    yield from _running(request.config, lambda: Broker(tmp_path_factory.mktemp("kafka")))


@pytest.fixture(scope="session")
def secure_broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with `access` by SASL_SSL and by client certificate; its admin client goes by the plain listener."""
    yield from _running(request.config, lambda: Broker(tmp_path_factory.mktemp("kafka-secure"), secure=True))


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Callable[[], Proxy]]:
    """Each call gives a network of its own between clients and the session's broker; at most three a test."""
    free, made = list(broker.proxied), list[Proxy]()

    def make() -> Proxy:
        made.append(Proxy(free.pop(0)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def confluent(request: pytest.FixtureRequest) -> None:
    """The extra `fast`, which users may do without."""
    if find_spec("confluent_kafka") is None:
        _not_tested(request.config, "confluent-kafka is not installed: pip install 'wervane[fast]'")


@pytest.fixture(autouse=True)
def _brokers_survive(request: pytest.FixtureRequest) -> Iterator[None]:
    """The next test finds the brokers running, whatever this one did."""
    used = [request.getfixturevalue(name) for name in ("broker", "secure_broker") if name in request.fixturenames]
    yield
    for each in used:
        assert isinstance(each, Broker)
        each.revive()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tests that nobody ran must not look like tests that passed."""
    why = config.stash.get(_NOT_INSTALLED, None)
    if why is not None:
        terminalreporter.section("KAFKA WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(why, red=True)


def _running(config: pytest.Config, make: Callable[[], Broker]) -> Iterator[Broker]:
    try:
        started = make()
        started.prepare()
    except NotInstalled as missing:
        _not_tested(config, str(missing))
    try:
        started.start()
        yield started
    finally:
        started.close()


def _not_tested(config: pytest.Config, why: str) -> NoReturn:
    config.stash[_NOT_INSTALLED] = why
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"Kafka must be tested here: {why}", pytrace=False)
    pytest.skip(why)
