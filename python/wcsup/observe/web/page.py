"""The page for browsers: one document, joined from the sources in `page/`, that asks nobody but this server."""

import base64
import html
from hashlib import sha256
from importlib.resources import files

_SCRIPTS = ("text", "patch", "link", "charts", "commits", "workers", "partitions", "words", "lists", "control", "page")
"""In the order in which they are joined: a file knows what the files before it have made."""
_STYLE, _SCRIPT, _TITLE, _STEERED = "/* STYLE */", "/* SCRIPT */", "APPLICATION", "STEERED"
"""What the sources have in the place of style, script, the application's name, and whether there are controls."""


def source(name: str) -> str:
    """Return a file of the page's sources."""
    return files("wcsup.observe.web").joinpath("page", name).read_text("utf-8")


class Page:
    """The document, and what a browser may do for it."""

    def __init__(self, application: str, *, steered: bool) -> None:
        """`steered`: the page shows controls to who knows the token."""
        style = source("style.css")
        script = '"use strict";\n' + "\n".join(source(f"{name}.js") for name in _SCRIPTS)
        whole = source("page.html").replace(_TITLE, html.escape(application))
        whole = whole.replace(_STEERED, str(steered).lower())
        self.document = whole.replace(_STYLE, style).replace(_SCRIPT, script).encode()
        self.policy = (
            f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        """The Content-Security-Policy: this style and this script run, and requests go to this server alone."""


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"
