"""Decides who is answered on the metrics port: GET and HEAD, bounded in connections, threads, bytes and time.

tornado reads requests and writes answers in one thread, TLS handshakes included, so that half-open connections cost a
file descriptor each and no thread. Four more threads work out the answers. A connection brings one request and lives
for half a minute at most; over a cap, the oldest connection makes room.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from threading import Event, Thread
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl

from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.iostream import IOStream

from monitor.adapters.access import Access, Answer, ServeFailed

ANSWERS_AT_ONCE = 4
"""Threads that work out answers. A page of 500 slices takes some 30 ms; a scrape must not wait behind one."""

WAITING_MAX = 256
"""Connections without an answer yet. A file descriptor each: a quarter of a process's usual limit, which needs them for
its state and its brokers, too. Were all of them scrapes, the last would wait for a second or two."""

UNREAD_MAX = 16
"""Answers on their way. A reader that never reads holds one in memory, a megabyte or two; beyond, the oldest is cut."""

LIFE_SECONDS = 30.0
"""A connection's life: thrice Prometheus' own scrape timeout. Its second half is for an answer over a slow line."""

SHARE_MAX = 0.2
"""Of one core's time, that working out the answers of one lane may take in the long run. What we watch, and our own
work, go on beside whoever asks without end; there are still some ten pages a second for everybody."""

BURST_SECONDS = 1.0
"""Of work that may be done at once: some thirty pages, for somebody who looks around."""

HEADER_SECONDS = 10.0
"""Until a request has arrived, handshake included."""

HEADER_BYTES_MAX = 16_384
"""Of a request, as other servers allow; ours have 500."""

BODY_BYTES_MAX = 4_096
"""Nothing here reads a body; a small one is let through, so that its method can be refused by name."""

QUERY_MAX = 8_192
"""Bytes of a query string: a slice of eight values of 64 letters that take 12 bytes each, percent and all."""

REREAD_SECONDS = 30.0
"""How often changed certificates and passwords are looked for: their tools renew them days before they expire."""

COMPRESSED_FROM = 2_048
"""Bytes. Below, there is less to save than a packet holds."""


class Response(NamedTuple):
    """What a route answers."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    compress: bool = True
    """Whether it may be sent gzipped. Not a scrape: that costs the host more time than the network saves."""


Query: TypeAlias = Mapping[str, str]
Route: TypeAlias = Callable[[Query], Response]
OnFault: TypeAlias = Callable[[BaseException], None]

_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
    ("Vary", "Accept-Encoding"),
)
_NOTHING_ALLOWED = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


class Server:
    """Serves routes from daemon threads until closed.

    lanes      by path: answers of one lane are worked out one after the other, within their share of time; paths
               that are not named are in one of their own, and those of lane "" are answered at once
    access     who may ask, and over what
    on_fault   told of an exception of a route, which is answered with 500

    Raises ServeFailed if the address cannot be had. Port 0 takes a free one: read it from `port`.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        host: str = "127.0.0.1",
        port: int = 9464,
        *,
        lanes: Mapping[str, str] | None = None,
        access: Access | None = None,
        on_fault: OnFault = lambda fault: None,
    ) -> None:
        self._lane_of = lanes or {}
        self._access = access or Access()
        self._routes = routes
        self._on_fault = on_fault
        self._socket = _listening(host, port)
        self.host = host
        self.port = int(self._socket.getsockname()[1])
        self._pool = ThreadPoolExecutor(ANSWERS_AT_ONCE, thread_name_prefix="answer")
        self._started = Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = Thread(target=self._run, name="serve", daemon=True)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self._access.is_tls else ''}://{host}:{self.port}/"

    def start(self) -> None:
        self._thread.start()
        self._started.wait()

    def close(self) -> None:
        """Stop accepting, and cut what is under way."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._socket.close()

    # -------------------------------------------------------------------------------------------- in the loop's thread
    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._started.set()  # whoever waits for the start must not wait for ever

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        under_way: set[asyncio.Task[None]] = set()  # the loop itself holds its tasks only weakly

        def take(request: HTTPServerRequest) -> None:
            task = asyncio.create_task(self._answer(request, server))
            under_way.add(task)
            task.add_done_callback(under_way.discard)

        server = _BoundedServer(take, self._access)
        server.add_socket(self._socket)
        self._started.set()
        while not self._stop.is_set():
            try:
                await asyncio.wait_for(self._stop.wait(), REREAD_SECONDS)
            except TimeoutError:
                await self._loop.run_in_executor(self._pool, self._access.reread)
                server.ssl_options = self._access.context
        server.stop()
        server.cut_all()

    async def _answer(self, request: HTTPServerRequest, server: _BoundedServer) -> None:
        connection = request.connection
        assert isinstance(connection, HTTP1Connection)
        name = self._lane_of.get(request.path, "others")
        lane = server.lanes.setdefault(name, _Lane()) if name else None
        async with lane or contextlib.nullcontext():
            if connection.stream.closed():
                return  # gone, or cut, while it waited
            response, seconds = await self._worked_out(request)
            if lane is not None:
                lane.spend(seconds)
        if connection.stream.closed():
            return
        server.answers(connection.stream)
        status = ResponseStartLine("HTTP/1.1", response.status.value, response.status.phrase)
        body = response.body if request.method != "HEAD" else None
        written = connection.write_headers(status, _headers(response), body)
        connection.finish()
        await asyncio.wait([written])
        written.exception()  # the client went away: nobody's error

    async def _worked_out(self, request: HTTPServerRequest) -> tuple[Response, float]:
        """The answer, and the seconds of processor that it took."""
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._timed, request)
        await asyncio.wait([work])
        fault = work.exception()
        if fault is None:
            return work.result()
        self._on_fault(fault)
        return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "our fault\n"), 0.0

    # ----------------------------------------------------------------------------------------- in the answers' threads
    def _timed(self, request: HTTPServerRequest) -> tuple[Response, float]:
        began = time.thread_time()  # waiting for the interpreter is nobody's loss
        response = self._respond(request)
        return response, time.thread_time() - began

    def _respond(self, request: HTTPServerRequest) -> Response:
        method, path, query = request.method or "", request.path, request.query
        if method not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD\n", ("Allow", "GET, HEAD"))
        match self._access.answer(path, request.headers.get("Authorization"), time.monotonic()):
            case Answer.WHO:
                challenge = ("WWW-Authenticate", 'Basic realm="wervane", charset="UTF-8"')
                return _text(HTTPStatus.UNAUTHORIZED, "user and password, please\n", challenge)
            case Answer.LATER:
                return _text(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong passwords\n", ("Retry-After", "1"))
            case Answer.YES:
                pass
        route = self._routes.get(path)
        if route is None:
            return _text(HTTPStatus.NOT_FOUND, f"not found; there are: {', '.join(sorted(self._routes))}\n")
        if len(query) > QUERY_MAX:
            return _text(HTTPStatus.REQUEST_URI_TOO_LONG, "query too long\n")
        return _compressed(route(dict(parse_qsl(query))), request.headers.get("Accept-Encoding", ""))


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens, without other servers' reverse look-up: a slow name server must not delay the start."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server(
            (host, port), family=family, backlog=1_024, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
        )
    except (OSError, OverflowError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ServeFailed(f"cannot serve on {host}:{port}: {why}; choose another serve.port (demo: --port)") from error
    bound.setblocking(False)
    return bound


def _text(status: HTTPStatus, body: str, *headers: tuple[str, str]) -> Response:
    return Response(status, "text/plain; charset=utf-8", body.encode(), headers)


def _compressed(response: Response, accepted: str) -> Response:
    if not response.compress or "gzip" not in accepted or len(response.body) < COMPRESSED_FROM:
        return response
    # Level 5: within 3 % of the smallest, for half of the time.
    body = gzip.compress(response.body, compresslevel=5, mtime=0)
    return response._replace(body=body, headers=(*response.headers, ("Content-Encoding", "gzip")))


def _headers(response: Response) -> HTTPHeaders:
    headers = HTTPHeaders()
    headers.add("Content-Type", response.content_type)
    headers.add("Content-Length", str(len(response.body)))
    for name, value in (*_ALWAYS, *response.headers):
        headers.add(name, value)
    if _NOTHING_ALLOWED[0] not in headers:
        headers.add(*_NOTHING_ALLOWED)
    return headers


class _Lane:
    """Lets one in after the other, and nobody while more time was spent than the lane's share."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._left, self._at = BURST_SECONDS, asyncio.get_running_loop().time()

    async def __aenter__(self) -> None:
        await self._turn.acquire()
        now = asyncio.get_running_loop().time()
        self._left = min(BURST_SECONDS, self._left + SHARE_MAX * (now - self._at))
        self._at = now
        if self._left < 0.0:
            try:
                await asyncio.sleep(-self._left / SHARE_MAX)
            except asyncio.CancelledError:
                self._turn.release()
                raise

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()

    def spend(self, seconds: float) -> None:
        self._left -= seconds


class _BoundedServer(HTTPServer):
    """tornado's server with a cap on connections; it bounds headers, bodies and their time by itself."""

    def initialize(self, take: Callable[[HTTPServerRequest], None], access: Access) -> None:  # type: ignore[override]
        """tornado's way to be constructed."""
        self.lanes: dict[str, _Lane] = {}
        self._waiting: dict[IOStream, asyncio.TimerHandle] = {}
        """Connections without an answer, the oldest first, with the ends of their lives."""
        self._answered: dict[IOStream, asyncio.TimerHandle] = {}
        super().initialize(
            take,
            ssl_options=access.context,
            no_keep_alive=True,
            idle_connection_timeout=HEADER_SECONDS,
            body_timeout=HEADER_SECONDS,
            max_header_size=HEADER_BYTES_MAX,
            max_body_size=BODY_BYTES_MAX,
        )

    def handle_stream(self, stream: IOStream, address: tuple[object, ...]) -> None:
        self._waiting[stream] = asyncio.get_running_loop().call_later(LIFE_SECONDS, stream.close)
        _keep(self._waiting, WAITING_MAX)
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        assert isinstance(server_conn, HTTP1ServerConnection)
        for kept in (self._waiting, self._answered):
            end = kept.pop(server_conn.stream, None)
            if end is not None:
                end.cancel()
        super().on_close(server_conn)

    def cut_all(self) -> None:
        for stream in (*self._waiting, *self._answered):
            stream.close()

    def answers(self, stream: IOStream) -> None:
        """An answer is about to be written; the oldest that nobody reads make room."""
        end = self._waiting.pop(stream, None)
        if end is not None:
            self._answered[stream] = end
            _keep(self._answered, UNREAD_MAX)


def _keep(streams: dict[IOStream, asyncio.TimerHandle], at_most: int) -> None:
    """Cut the oldest beyond so many. Closing tells tornado, which tells `on_close`."""
    for stream in list(streams)[: max(0, len(streams) - at_most)]:
        streams.pop(stream).cancel()
        stream.close()
