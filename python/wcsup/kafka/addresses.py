"""The addresses of brokers in `bootstrap.servers`."""

import socket

from wcsup.errors import BrokerUnreachableError

_PORT = 9092


def host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of one address, which may have a protocol and lack the port, as librdkafka takes it."""
    rest = address.strip().rpartition("://")[2]
    host, _, port = rest.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else (rest.strip("[]"), _PORT)


def refuse_unknown(addresses: str) -> None:
    """Raise `BrokerUnreachableError` where none of the hosts has an address, and no name server may know one later.

    A name server that does not answer now is waited for, as a broker is.
    """
    hosts = [host_and_port(address)[0] for address in addresses.split(",") if address.strip()]
    for host in hosts:
        try:
            socket.getaddrinfo(host, None)
        except socket.gaierror as error:
            if error.errno == socket.EAI_NONAME:
                continue
        return
    raise BrokerUnreachableError(
        f"nobody knows a host of the name {' or '.join(hosts)}: check the address (--bootstrap-servers)"
    )
