"""A TCP proxy between clients and broker that understands where Kafka's requests and answers begin and end.

The proxy can be slow, stall, cut its connections, and act on requests of one kind: lose or delay their answers, or hold
the requests themselves and deliver them when their sender has long gone on. `wcsup chaos --late-commit` and the tests
have it before a broker; nothing else has.
"""

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import NamedTuple

from wcsup.errors import RetryError

_HOST = "127.0.0.1"
_LONGEST_SECONDS = 60.0


class Api(int, Enum):
    """Kinds of requests (Kafka protocol guide, "API keys")."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS = 24
    ADD_OFFSETS = 25
    END_TXN = 26
    WRITE_TXN_MARKERS = 27
    TXN_OFFSET_COMMIT = 28
    CONSUMER_GROUP_HEARTBEAT = 68


_TELL_ADDRESSES = {Api.METADATA, Api.FIND_COORDINATOR}
"""Requests whose answers say at which address a broker is."""


class _Act(Enum):
    LOSE_ANSWER = auto()
    HOLD_ANSWER = auto()
    HOLD_REQUEST = auto()
    DELAY_REQUEST = auto()
    REFUSE_REQUESTS = auto()


class Frame(NamedTuple):
    """One request or answer."""

    size: bytes
    body: bytes


class Trap:
    """What the proxy does to the next request of a kind, or to all of them."""

    def __init__(self, api: Api, act: _Act, *, skip: int = 0, unlike: bytes = b"") -> None:
        """`skip` are how many to let pass before; requests that have the bytes `unlike` always pass."""
        self.api = api
        self.act = act
        self.skip = skip
        self.unlike = unlike
        self.sprung = threading.Event()
        self.version = 0
        """The version of the request that sprang the trap by being held."""
        self._released = threading.Event()
        self._answered = threading.Event()
        self.answer = b""

    def release(self) -> None:
        """Release what the trap has held."""
        self._released.set()

    def wait_release(self) -> None:
        """Wait until the trap is released, but not for ever."""
        self._released.wait(_LONGEST_SECONDS)

    def answered(self, answer: bytes) -> None:
        """Take the broker's answer."""
        self.answer = answer
        self._answered.set()

    def wait_over(self) -> None:
        """Wait for the answer, but not for ever: a killed broker gives none."""
        self._answered.wait(_LONGEST_SECONDS)

    def wait_answered(self) -> bytes:
        """Return the broker's answer to a request that was held; raise `RetryError` where there is none."""
        if not self._answered.wait(_LONGEST_SECONDS):
            raise RetryError(
                f"the broker did not answer a request of kind {self.api.name} for {_LONGEST_SECONDS:.0f} s"
            )
        return self.answer


class _Held(NamedTuple):
    """A request that is held."""

    correlation: int
    trap: Trap


class _Link:
    def __init__(self, client: socket.socket, broker: socket.socket) -> None:
        self.client = client
        self.broker = broker
        self.asked: dict[int, int] = {}
        """API keys of unanswered requests, by correlation id."""
        self.held: _Held | None = None
        """The request to forward when its sender is gone; nothing else is forwarded any more."""

    def close(self, *, broker: bool = True) -> None:
        """Break the connection to the client, and the one to the broker."""
        for end in (self.client, self.broker)[: 1 + broker]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Listens at port `outside` of loopback, and forwards to the broker that listens at port `inside`.

    A broker tells its clients its own address. Where that is the address behind the proxy, the proxy puts its own in
    its place: else clients would pass by the proxy after their first question.
    """

    def __init__(self, outside: int, inside: int) -> None:
        self.address = f"{_HOST}:{outside}"
        self.requests: Counter[int] = Counter()
        """Forwarded requests by API key."""
        self._inside = inside
        self._flow = threading.Event()
        self._flow.set()
        self._delay = 0.0
        self._lock = threading.Lock()
        self._traps: list[Trap] = []
        self._connections: set[_Link] = set()
        self._outside = outside
        self._told, self._put_in = (_HOST.encode() + struct.pack(">i", port) for port in (inside, outside))
        self._listen()

    def slow(self, seconds: float) -> None:
        """Delay each request and each answer by `seconds`."""
        self._delay = seconds

    def stall(self) -> None:
        """Forward nothing, and keep the connections open."""
        self._flow.clear()

    def resume(self) -> None:
        """Forward again, after a stall."""
        self._flow.set()

    def cut(self) -> None:
        """Break all connections; new ones are accepted."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            self._end(connection)

    def shut(self) -> None:
        """Break all connections and have new ones refused, until `reopen`."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        self.cut()

    def reopen(self) -> None:
        """Accept connections again, after `shut`."""
        self._listen()

    def lose_answer(self, api: Api, *, skip: int = 0) -> Trap:
        """Have the broker do the next request of a kind, swallow its answer and break the connection."""
        return self._set(Trap(api, _Act.LOSE_ANSWER, skip=skip))

    def hold_answer(self, api: Api, *, skip: int = 0) -> Trap:
        """Have the broker do it, and keep the answer back until the trap is released."""
        return self._set(Trap(api, _Act.HOLD_ANSWER, skip=skip))

    def hold_request(self, api: Api, *, skip: int = 0) -> Trap:
        """Break the sender's connection and give the broker the request when the trap is released."""
        return self._set(Trap(api, _Act.HOLD_REQUEST, skip=skip))

    def delay_request(self, api: Api, *, skip: int = 0, unlike: bytes = b"") -> Trap:
        """Have the request overtaken by all others until the trap is released, and let nobody know."""
        return self._set(Trap(api, _Act.DELAY_REQUEST, skip=skip, unlike=unlike))

    def refuse_requests(self, api: Api) -> Trap:
        """Break the connection of each sender of a kind of request, which the broker never gets, until disarmed."""
        return self._set(Trap(api, _Act.REFUSE_REQUESTS))

    def disarm(self, trap: Trap) -> None:
        """Take back what was not sprung, and let go of what was kept back."""
        with self._lock:
            self._traps.remove(trap)
        trap.release()

    def let_go(self) -> None:
        """Release all traps, and set no trap any more."""
        with self._lock:
            traps, self._traps = self._traps, []
        for trap in traps:
            trap.release()

    def close(self) -> None:
        """Release all traps, break all connections, and listen no more."""
        self._flow.set()
        self.let_go()
        self.shut()

    def _set(self, trap: Trap) -> Trap:
        with self._lock:
            self._traps.append(trap)
        return trap

    def _sprung(self, api: int | None, *acts: _Act, request: bytes = b"") -> Trap | None:
        with self._lock:
            for trap in self._traps:
                if (
                    trap.api == api
                    and trap.act in acts
                    and not (trap.unlike and trap.unlike in request)
                    and (trap.act is _Act.REFUSE_REQUESTS or not trap.sprung.is_set())
                ):
                    if trap.skip:
                        trap.skip -= 1
                        return None
                    trap.sprung.set()
                    return trap
        return None

    def _listen(self) -> None:
        self._listener = socket.create_server((_HOST, self._outside), backlog=100)
        self._accepting = threading.Thread(target=self._accept, args=[self._listener], daemon=True)
        self._accepting.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # shut
            try:
                broker = socket.create_connection((_HOST, self._inside))
            except OSError:
                client.close()
                continue
            for end in (client, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Link(client, broker)
            with self._lock:
                self._connections.add(connection)
            for pump in (self._forward_requests, self._forward_answers):
                threading.Thread(target=self._run, args=[pump, connection], daemon=True).start()

    def _run(self, pump: Callable[[_Link], None], connection: _Link) -> None:
        with suppress(OSError):
            pump(connection)
        self._end(connection)

    def _end(self, connection: _Link) -> None:
        with self._lock:
            self._connections.discard(connection)
        connection.close()

    def _forward_requests(self, connection: _Link) -> None:
        while frame := _receive(connection.client):
            api, version, correlation = struct.unpack_from(">hhi", frame.body)
            if trap := self._sprung(api, _Act.HOLD_REQUEST):
                trap.version = version
                connection.held = _Held(correlation, trap)
                self._hold_request(connection, frame, trap)
                return
            if trap := self._sprung(api, _Act.DELAY_REQUEST, request=frame.body):
                threading.Thread(target=self._deliver_late, args=[frame, trap], daemon=True).start()
                continue
            if self._sprung(api, _Act.REFUSE_REQUESTS):
                return
            connection.asked[correlation] = api
            self._pace()
            self.requests[api] += 1  # first: who has the answer finds its request counted
            connection.broker.sendall(frame.size + frame.body)

    def _hold_request(self, connection: _Link, frame: Frame, trap: Trap) -> None:
        with self._lock:
            self._connections.discard(connection)  # `cut` is not to break the broker's half
        connection.close(broker=False)
        trap.wait_release()
        connection.broker.sendall(frame.size + frame.body)
        trap.wait_over()

    def _deliver_late(self, frame: Frame, trap: Trap) -> None:
        trap.wait_release()
        with socket.create_connection((_HOST, self._inside)) as broker:
            broker.sendall(frame.size + frame.body)
            if answer := _receive(broker):
                trap.answered(answer.body[4:])

    def _forward_answers(self, connection: _Link) -> None:
        while frame := _receive(connection.broker):
            (correlation,) = struct.unpack_from(">i", frame.body)
            api = connection.asked.pop(correlation, None)
            if held := connection.held:
                if correlation == held.correlation:
                    held.trap.answered(frame.body[4:])
                continue
            if trap := self._sprung(api, _Act.LOSE_ANSWER, _Act.HOLD_ANSWER):
                trap.answered(frame.body[4:])
                if trap.act is _Act.LOSE_ANSWER:
                    return
                trap.wait_release()
            self._pace()
            # Host and port stand side by side in these answers, whatever their version.
            body = frame.body.replace(self._told, self._put_in) if api in _TELL_ADDRESSES else frame.body
            try:
                connection.client.sendall(frame.size + body)
            except OSError:
                if connection.held is None:
                    raise
                # This was asked before what is kept back, by a client that is gone.

    def _pace(self) -> None:
        if self._delay:
            time.sleep(self._delay)
        self._flow.wait()


def _receive(connection: socket.socket) -> Frame | None:
    size = _receive_exactly(connection, 4)
    if not size:
        return None
    body = _receive_exactly(connection, *struct.unpack(">i", size))
    return Frame(size, body) if body else None


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(1 << 20, size - len(data)))
        if not part:
            return b""
        data += part
    return bytes(data)
