"""Decides who is answered on the metrics port: GET and HEAD, bounded in threads, bytes and time.

The routes are a WSGI application, so that a kept server (TLS, mutual TLS, basic auth) can take over from the standard
library's without a change to them. The server here is `wsgiref` with three bounds: threads, seconds of silence, and, at
the cap, the connection that has been silent longest makes room, so that half-open connections cannot lock out a scrape.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from socketserver import TCPServer, ThreadingMixIn
from threading import BoundedSemaphore, Lock, Thread
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

THREADS_MAX = 20
"""Requests answered at once. Prometheus, its pair, a probe and some browsers are 10; more only cost memory."""

SILENCE_SECONDS = 10.0
"""A connection silent for this long is closed: Prometheus' own scrape timeout; a slower client has given up."""

WAIT_SECONDS = 1.0
"""How long a new connection may wait for a thread before it is closed unanswered."""

QUERY_MAX = 2_048
"""Bytes of a query string; ours have 10."""


class Response(NamedTuple):
    """What a route answers."""

    status: str
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Query: TypeAlias = Mapping[str, str]
Route: TypeAlias = Callable[[Query], Response]

_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_NOTHING_ALLOWED = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


class ServeFailed(OSError):
    """The address cannot be served; says which, and what to do."""


def application(routes: Mapping[str, Route]) -> WSGIApplication:
    """The WSGI application of these routes: exact paths, GET and HEAD."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        response = _respond(routes, method, environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", ""))
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *_ALWAYS,
            *response.headers,
        ]
        if not any(name == _NOTHING_ALLOWED[0] for name, _ in response.headers):
            headers.append(_NOTHING_ALLOWED)
        start_response(response.status, headers)
        return [] if method == "HEAD" else [response.body]

    return answer


def _respond(routes: Mapping[str, Route], method: str, path: str, query: str) -> Response:
    if method not in ("GET", "HEAD"):
        return Response("405 Method Not Allowed", "text/plain", b"GET or HEAD\n", (("Allow", "GET, HEAD"),))
    route = routes.get(path)
    if route is None:
        known = ", ".join(sorted(routes))
        return Response("404 Not Found", "text/plain", f"not found; there are: {known}\n".encode())
    if len(query) > QUERY_MAX:
        return Response("414 URI Too Long", "text/plain", b"query too long\n")
    return route(dict(parse_qsl(query)))


# ------------------------------------------------------------------------------------------------------------- server
class Server:
    """Serves routes from daemon threads until closed.

    Raises ServeFailed if the address cannot be had. Port 0 takes a free one: read it from `port`.
    """

    def __init__(self, routes: Mapping[str, Route], host: str = "127.0.0.1", port: int = 9464) -> None:
        try:
            self._server = _BoundedServer(host, port, application(routes))
        except (OSError, OverflowError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ServeFailed(
                f"cannot serve on {host}:{port}: {why}; choose another serve.port (demo: --port)"
            ) from error
        self.host = host
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="serve", daemon=True)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop accepting; requests under way end with their threads."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()


class _BoundedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, app: WSGIApplication) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self._room = BoundedSemaphore(THREADS_MAX)
        self._lock = Lock()
        self._silent: dict[int, socket.socket] = {}
        """Connections that have not sent their request yet, the oldest first, by identity."""
        super().__init__((host, port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind without the reverse look-up of `HTTPServer`: a slow name server must not delay the start."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        if not self._room.acquire(blocking=False):
            self._hang_up_on_oldest()
            if not self._room.acquire(timeout=WAIT_SECONDS):
                self.shutdown_request(request)
                return
        with self._lock:
            self._silent[id(request)] = request
        super().process_request(request, client_address)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        assert isinstance(request, socket.socket)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.heard(request)
            self._room.release()

    def heard(self, connection: socket.socket) -> None:
        """The connection sent its request, or is gone: it is not silent any more."""
        with self._lock:
            self._silent.pop(id(connection), None)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nobody's error; faults in routes are answered by wsgiref with 500."""

    def _hang_up_on_oldest(self) -> None:
        with self._lock:
            oldest = next(iter(self._silent), None)
            if oldest is not None:
                connection = self._silent.pop(oldest)
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # it is gone already


class _Handler(WSGIRequestHandler):
    timeout = SILENCE_SECONDS

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        assert isinstance(self.server, _BoundedServer)
        self.server.heard(self.connection)
        return parsed

    def log_message(self, format: str, *args: object) -> None:
        """No access log: a scrape every 15 s would be all there is, and paths are not ours to write down."""
