"""Jars that tests need and users do not, fetched from Maven Central once and verified each time."""

from pathlib import Path

from wcsup.broker import maven
from wcsup.broker.jars import cache_home
from wcsup.broker.locking import exclusive
from wcsup.broker.pinned import Jar


def fetched(jar: Jar, title: str) -> Path:
    """Return where the jar is."""
    home = cache_home().parent / jar.filename.removesuffix(".jar")
    home.mkdir(parents=True, exist_ok=True)
    path = home / jar.filename
    with exclusive(home / "fetch.lock"):
        if not jar.is_at(path):
            maven.download([jar], home, title=title)
    return path
