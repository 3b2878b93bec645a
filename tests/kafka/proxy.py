"""Decides what the network between clients and a broker does: pass, cut, refuse, stall, or swallow everything.

A client reaches a broker through a proxy only because one of the broker's listeners advertises the proxy's port
(`Broker.proxied`); otherwise it would go past it after its first request.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum

from tests.kafka.broker import Proxied

_HELD_BYTES_MAX = 1 << 20
"""What is held for a receiver that does not read; then its sender is not read from either, as TCP would do."""


class Network(StrEnum):
    THROUGH = "through"
    REFUSED = "refused"
    STALLED = "stalled"
    SWALLOWED = "swallowed"


class _Side:
    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.held = bytearray()
        """What is on its way to this side."""


class _Pair:
    """A client and the broker, or a client that only believes that there is one."""

    def __init__(self, client: socket.socket, broker: socket.socket | None) -> None:
        self.client = _Side(client)
        self.broker = _Side(broker) if broker is not None else None
        self.swallowed = broker is None

    def directions(self) -> Iterator[tuple[_Side, _Side | None]]:
        """(from, to)"""
        yield self.client, self.broker
        if self.broker is not None:
            yield self.broker, self.client

    def reset(self) -> None:
        """RST to both ends: what a router or a crashed host does."""
        for side, _ in self.directions():
            with contextlib.suppress(OSError):
                side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.socket.close()


class Proxy:
    """Give `address` to clients as their bootstrap server. Every change is in force when its method returns."""

    def __init__(self, proxied: Proxied) -> None:
        self.address = f"127.0.0.1:{proxied.advertised_port}"
        self._proxied = proxied
        self._network = Network.THROUGH
        self._pairs: list[_Pair] = []
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._bell, self._ring = socket.socketpair()
        self._closing = False
        self._listener: socket.socket | None = self._listen()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Reset every connection. Clients may come back at once."""
        self._order(self._reset_all)

    def refuse(self) -> None:
        """Reset every connection; nobody listens until `restore`."""
        self._order(lambda: self._become(Network.REFUSED))

    def stall(self) -> None:
        """Nothing moves in either direction; what was sent arrives after `restore`, as TCP sends it again."""
        self._order(lambda: self._become(Network.STALLED))

    def swallow(self) -> None:
        """Half-open: connections stand and new ones are accepted, but the other end is gone."""
        self._order(lambda: self._become(Network.SWALLOWED))

    def restore(self) -> None:
        """Pass everything. Connections that something was swallowed of are reset."""
        self._order(lambda: self._become(Network.THROUGH))

    @property
    def connections(self) -> int:
        return len(self._pairs)

    def close(self) -> None:
        if self._thread.is_alive():
            self._order(self._end)
            self._thread.join()
        self._bell.close()
        self._ring.close()

    # -------------------------------------------------------------------------------------------- on the proxy's thread
    def _order(self, what: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((what, done))
        self._ring.send(b".")
        assert done.wait(30), "the proxy's thread has ended"

    def _run(self) -> None:
        while not self._closing:
            readers, writers = self._interests()
            readable, writable, _ = select.select(readers, writers, [])
            if self._bell in readable:
                self._bell.recv(1)
                what, done = self._orders.get()
                what()
                done.set()
                continue  # sockets may be gone
            if self._listener is not None and self._listener in readable:
                self._accept(self._listener)
            for pair in list(self._pairs):
                try:
                    self._move(pair, readable, writable)
                except OSError:
                    self._drop(pair)

    def _interests(self) -> tuple[list[socket.socket], list[socket.socket]]:
        readers, writers = [self._bell], list[socket.socket]()
        if self._network is Network.STALLED:
            return readers, writers
        if self._listener is not None:
            readers.append(self._listener)
        for pair in self._pairs:
            for sender, receiver in pair.directions():
                if receiver is None or len(receiver.held) < _HELD_BYTES_MAX:
                    readers.append(sender.socket)
                if sender.held and not pair.swallowed:
                    writers.append(sender.socket)
        return readers, writers

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        broker = None
        if self._network is Network.THROUGH:
            try:
                broker = socket.create_connection(("127.0.0.1", self._proxied.port), timeout=10)
            except OSError:
                _Pair(client, None).reset()
                return
        self._pairs.append(_Pair(client, broker))

    def _move(self, pair: _Pair, readable: list[socket.socket], writable: list[socket.socket]) -> None:
        for sender, receiver in pair.directions():
            if sender.socket in readable:
                received = sender.socket.recv(1 << 16)
                if not received:
                    self._drop(pair)
                    return
                if receiver is not None and not pair.swallowed:
                    receiver.held += received
        for side, _ in pair.directions():
            if side.socket in writable:
                del side.held[: side.socket.send(side.held)]

    def _drop(self, pair: _Pair) -> None:
        self._pairs.remove(pair)
        for side, _ in pair.directions():
            side.socket.close()

    def _become(self, network: Network) -> None:
        self._network = network
        match network:
            case Network.REFUSED:
                self._reset_all()
                self._deafen()
            case Network.SWALLOWED:
                for pair in self._pairs:
                    pair.swallowed = True
            case Network.THROUGH:
                for pair in [pair for pair in self._pairs if pair.swallowed]:
                    self._pairs.remove(pair)
                    pair.reset()
            case Network.STALLED:
                pass
        if network is not Network.REFUSED and self._listener is None:
            self._listener = self._listen()

    def _reset_all(self) -> None:
        for pair in self._pairs:
            pair.reset()
        self._pairs.clear()

    def _end(self) -> None:
        self._reset_all()
        self._deafen()
        self._closing = True

    def _deafen(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", self._proxied.advertised_port), backlog=64)
