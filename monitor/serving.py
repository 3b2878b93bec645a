"""Decides what the outside sees while agents and partitions come and go: the last picture, health, readiness."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from monitor.adapters import logs
from monitor.adapters.access import OPEN_TO_ALL, PASSWORD_IN_CLEAR, Access, is_open_to_all, is_password_in_clear
from monitor.adapters.configuration import shown_configuration
from monitor.adapters.exposition import Exposition, process_registry
from monitor.adapters.http import Health, StatusServer
from monitor.config import Settings
from monitor.core.records import Transition, View
from monitor.core.scoring import Scorer
from monitor.core.snapshot import MetricsSnapshot
from monitor.core.unit_fit import unit_advice
from monitor.sending import Sender

DAY = 86400.0


def empty_snapshot(settings: Settings) -> MetricsSnapshot:
    """What is served before the state was read."""
    return MetricsSnapshot(view=View(at=0.0, started_at=time.time(), dimensions=settings.slices.names))


class Served:
    """What the HTTP threads read while agents come and go: the last snapshot, and whether it can be trusted."""

    def __init__(self, snapshot: MetricsSnapshot, sender: Sender | None = None) -> None:
        self.snapshot = snapshot
        self._sender = sender
        self.storage_ok = True
        self.has_input = False
        self.started = False
        """Whether any agent's state was shown."""
        self.exposition: Exposition | None = None
        self.is_ready: Callable[[], bool] = lambda: True

    def show(self, snapshot: MetricsSnapshot, restored: bool = False) -> None:
        """`restored`: its series come from a state, and were shown before."""
        if restored and self.exposition is not None:
            self.exposition.know(snapshot)
        self.snapshot, self.storage_ok, self.has_input, self.started = snapshot, True, True, True

    def show_behind(self, snapshot: MetricsSnapshot) -> None:
        """The state is made again, and not yet as far as what was shown before."""
        self.snapshot, self.storage_ok, self.has_input, self.started = snapshot, True, False, True

    def current(self) -> MetricsSnapshot:
        """The last snapshot, with what became of notifications until now: they go on when no record comes."""
        if self._sender is None:
            return self.snapshot
        snapshot, sender = self.snapshot, self._sender
        view = snapshot.view
        counters, gauges = {**view.counters, **sender.counters()}, {**view.gauges, **sender.gauges()}
        return replace(snapshot, view=replace(view, counters=counters, gauges=gauges))

    def waits_for_input(self) -> None:
        """Partitions are elsewhere, or no broker answers."""
        self.has_input = False

    def storage_failed(self) -> None:
        """Go on serving what was durable, and say that nothing new is."""
        view = self.snapshot.view
        gauges = {**view.gauges, "storage_ok": 0.0}
        self.snapshot = replace(self.snapshot, view=replace(view, gauges=gauges))
        self.storage_ok = False

    def health(self) -> Health:
        """Alive: a full disk is no reason to restart the process, which would only lose what is in memory."""
        facts = {"storage_ok": self.storage_ok, "has_input": self.has_input, "watermark": self.snapshot.view.at}
        return True, facts

    def readiness(self) -> Health:
        ready = self.storage_ok and self.has_input and self.is_ready()
        return ready, {"storage_ok": self.storage_ok, "has_input": self.has_input and self.is_ready()}


def serve(settings: Settings, served: Served, scorer: Scorer, log: FilteringBoundLogger) -> StatusServer:
    """Metrics and page on the configured address. Raises ServeFailed."""
    if is_open_to_all(settings.serve):
        log.warning("served_to_all", address=f"{settings.serve.host}:{settings.serve.port}", reason=OPEN_TO_ALL)
    if is_password_in_clear(settings.serve):
        log.warning("password_in_clear", reason=PASSWORD_IN_CLEAR)
    access = Access(settings.serve, on_stale=lambda path: log.warning("access_file_unusable", path=path))
    exposition = Exposition(
        registry=process_registry(),
        start=served.snapshot,
        build={"normalizer": scorer.normalizer, "aligner": scorer.aligner},
    )
    served.exposition = exposition
    return StatusServer(
        settings.serve.host,
        settings.serve.port,
        served.current,
        exposition=exposition,
        get_health=served.health,
        get_readiness=served.readiness,
        access=access,
        configuration=shown_configuration(settings),
        on_fault=lambda fault: log.error("answer_failed", exception=type(fault).__name__, frames=logs.frames_of(fault)),
    )


def warn_of_units(log: FilteringBoundLogger, view: View, warned: dict[str, float]) -> None:
    """Say in the log that units are too short: once in an event day for each customer. `warned` remembers it."""
    for fit in view.unit_fits:
        if fit.longer is not None and fit.at >= warned.get(fit.customer, float("-inf")) + DAY:
            warned[fit.customer] = fit.at
            log.warning("unit_too_short", customer=fit.customer, reason=fit.longer, summary=unit_advice(fit))


def tell_series(log: FilteringBoundLogger, before: View, after: View) -> None:
    """Say that another model makes a customer's transcripts now: its baselines stay, so that a worse one pages."""
    known = {one.customer for one in before.series}
    for one in after.series:
        if one not in before.series and one.customer in known:
            log.info("baseline_series", customer=one.customer, model=one.model, at=one.since)


def tell(log: FilteringBoundLogger, transitions: Sequence[Transition]) -> None:
    """Say in the log what was decided."""
    for transition in transitions:
        log.warning(
            f"incident_{transition.state}",
            incident=transition.incident,
            priority=transition.level,
            kind=transition.kind,
            customer=transition.customer,
            slices=list(transition.slices),
            summary=transition.summary,
        )
