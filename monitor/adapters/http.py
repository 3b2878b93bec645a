"""Decides what each path of the metrics port shows: metrics, the status page, health, and the same as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeAlias

import msgspec

from monitor.adapters.access import Access, ServeFailed
from monitor.adapters.configuration import ShownSection
from monitor.adapters.exposition import CONTENT_TYPE, Exposition, process_registry
from monitor.adapters.page import incidents_document, slices_document
from monitor.adapters.site import Document, StatusPages
from monitor.adapters.web_server import OnFault, Query, Response, Route, Server
from monitor.core.records import View
from monitor.core.snapshot import MetricsSnapshot

__all__ = ["Health", "ServeFailed", "StatusServer", "routes"]

Health: TypeAlias = tuple[bool, Mapping[str, object]]
"""Whether all is well, and what is known about it."""

LANES = {"/healthz": "", "/readyz": "", "/metrics": "scrapes"}
"""Probes and scrapes do not wait behind pages: a flood of those must neither restart the agent nor blind it."""

HTML = "text/html; charset=utf-8"
JSON = "application/json"


class StatusServer:
    """Serves from construction until `close`. `get_snapshot` and `get_health` are called from many threads: they read
    a value that is swapped by assignment, and never block.

    exposition    by default one that knows the process, and takes the snapshot of this moment as already shown: it is
                  what a restart restored
    get_health    for `/healthz`: 503 where the process should be restarted
    get_readiness for `/readyz`: 503 while nothing worth reading is there; the same as health by default
    access        who may ask, and over what; by default everybody, in clear text
    configuration what the page of that name shows
    on_fault      told of an exception while answering, which is our fault and answered with 500

    Raises ServeFailed if the address cannot be had.
    """

    def __init__(
        self,
        host: str,
        port: int,
        get_snapshot: Callable[[], MetricsSnapshot],
        *,
        exposition: Exposition | None = None,
        get_health: Callable[[], Health] = lambda: (True, {}),
        get_readiness: Callable[[], Health] | None = None,
        clock: Callable[[], float] = time.monotonic,
        access: Access | None = None,
        on_fault: OnFault = lambda fault: None,
        configuration: Sequence[ShownSection] = (),
    ) -> None:
        writer = exposition or Exposition(registry=process_registry(), start=get_snapshot())
        paths = routes(get_snapshot, get_health, get_readiness or get_health, writer, clock, configuration)
        self._server = Server(paths, host, port, lanes=LANES, access=access, on_fault=on_fault)
        self._server.start()

    @property
    def port(self) -> int:
        """The port that was bound, where 0 was asked for."""
        return self._server.port

    @property
    def address(self) -> str:
        """Where a browser finds the status page."""
        return self._server.url

    def close(self) -> None:
        self._server.close()


def routes(
    get_snapshot: Callable[[], MetricsSnapshot],
    get_health: Callable[[], Health],
    get_readiness: Callable[[], Health],
    exposition: Exposition,
    clock: Callable[[], float],
    configuration: Sequence[ShownSection] = (),
) -> dict[str, Route]:
    """Every path and what it answers."""
    pages = StatusPages(configuration)
    page_headers = (("Content-Security-Policy", pages.content_security_policy),)

    def shown(render: Callable[[View, Query], Document]) -> Route:
        def answer(query: Query) -> Response:
            page = render(get_snapshot().view, query)
            return Response(HTTPStatus.OK if page.found else HTTPStatus.NOT_FOUND, HTML, page.body, page_headers)

        return answer

    def metrics(_: Query) -> Response:
        return Response(HTTPStatus.OK, CONTENT_TYPE, exposition.render(get_snapshot(), clock()), compress=False)

    return {
        "/": shown(pages.now),
        "/slices": shown(pages.slices),
        "/slice": shown(pages.slice),
        "/incidents": shown(pages.incidents),
        "/incident": shown(pages.incident),
        "/coverage": shown(pages.coverage),
        "/budget": shown(pages.budget),
        "/configuration": shown(pages.configuration),
        "/metrics": metrics,
        "/healthz": lambda _: _health(get_health()),
        "/readyz": lambda _: _health(get_readiness()),
        "/api/v1/slices": lambda _: Response(HTTPStatus.OK, JSON, slices_document(get_snapshot().view)),
        "/api/v1/incidents": lambda _: Response(HTTPStatus.OK, JSON, incidents_document(get_snapshot().view)),
    }


def _health(health: Health) -> Response:
    healthy, details = health
    status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, JSON, msgspec.json.encode({"ok": healthy, **details}))
