"""The few requests of Kafka's protocol that a start needs: loading a whole client would take longer than the wait.

Layouts are from the Kafka protocol guide. Versions are those of Kafka 4 that are easiest to write.
With `tls` a request is made by TLS.
"""

import socket
import struct
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

GROUP, TRANSACTION = 0, 1
"""Kinds of coordinators."""
_ANSWER_SECONDS = 5.0
_CLIENT = struct.pack(">h5s", 5, b"wcsup")
_NO_TAGS = b"\0"


def brokers(port: int, tls: "ssl.SSLContext | None" = None) -> int:
    """Return how many brokers are in the metadata; a broker that is still fenced by the controller is not."""
    answer = _ask(port, api=3, version=1, body=struct.pack(">i", 0), tls=tls)  # Metadata, of no topics
    return int(struct.unpack_from(">i", answer)[0])


def coordinator_error(port: int, kind: int, tls: "ssl.SSLContext | None" = None) -> int:
    """Return the error of asking for a coordinator, 0 when there is one. The request also creates its topic."""
    body = struct.pack(">h5sb", 5, b"wcsup", kind)  # FindCoordinator
    return int(struct.unpack_from(">ih", _ask(port, api=10, version=1, body=body, tls=tls))[1])


def producer_id_error(port: int, tls: "ssl.SSLContext | None" = None) -> int:
    """Return the error of asking for a producer id. The request also makes the broker fetch its block of ids."""
    body = struct.pack(">hi", -1, 0)  # InitProducerId, without a transactional.id
    return int(struct.unpack_from(">ih", _ask(port, api=22, version=0, body=body, tls=tls))[1])


def unregister_error(controller_port: int, node: int, tls: "ssl.SSLContext | None" = None) -> int:
    """Return the error of telling a controller to unregister a broker."""
    body = struct.pack(">i", node) + _NO_TAGS  # UnregisterBroker
    answer = _ask(controller_port, api=64, version=0, body=body, flexible=True, tls=tls)
    return int(struct.unpack_from(">ih", answer)[1])


def _ask(
    port: int, *, api: int, version: int, body: bytes, tls: "ssl.SSLContext | None", flexible: bool = False
) -> bytes:
    """Send one request to `port` of loopback and return the body of its answer.

    Raises OSError while nobody answers there.
    """
    request = struct.pack(">hhi", api, version, 0) + _CLIENT + (_NO_TAGS if flexible else b"") + body
    with closing(_connected(port, tls)) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _receive(connection, 4))
        answer = _receive(connection, size)
    return answer[5:] if flexible else answer[4:]  # the body is behind the correlation id and the tagged fields


def _connected(port: int, tls: "ssl.SSLContext | None") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_SECONDS)
    if tls is None:
        return connection
    try:
        return tls.wrap_socket(connection, server_hostname="127.0.0.1")
    except BaseException:
        connection.close()
        raise


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the broker closed the connection")
        data += part
    return data
