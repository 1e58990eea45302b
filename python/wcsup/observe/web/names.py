"""Whether a request was made for this server: by the name it was called, and by the page that made it."""

import socket
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_own_name(host: str, names: Collection[str]) -> bool:
    """Return whether a request's Host header names this server in a way that no page of somebody else can bring about.

    A page's own domain may be made to lead here (DNS rebinding): the browser then lets the page read our answers, and
    sends that domain as Host. So addresses are taken, and names that are nobody's domain on the internet: without a
    dot, or of a private network. A client without the header is no browser.
    """
    if not host:
        return True
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    name = name.rstrip(".").lower()
    try:
        ip_address(name)
    except ValueError:
        private = name.endswith((".local", ".internal", ".svc", ".localhost"))
        return "." not in name or private or name in {socket.gethostname().lower(), *(one.lower() for one in names)}
    return True


def is_of_another_site(headers: Mapping[str, str]) -> bool:
    """Return whether a browser says that a page of another site made this request (Fetch Metadata; Origin, RFC 6454).

    A client that sends neither header is no browser. The scheme of Origin is not compared: a proxy may speak TLS.
    """
    if headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        return True
    origin = headers.get("Origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("Host", "").lower() or not urlsplit(origin).netloc
    except ValueError:
        return True
