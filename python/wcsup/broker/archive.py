"""An archive of the broker's classes, which halves its start (Java's class data sharing, "AppCDS").

The first broker of a Java runtime lists the classes that it loads. Once the broker serves, a separate process with
the lowest priority makes the archive from that list, in some 5 s. Later brokers map the archive. Java itself checks
that an archive fits the runtime and the jars, and ignores an archive that doesn't.
Tried: with JDK 25's AOT cache (JEP 483, 514) a start is no faster, and the start that records is twice as slow.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from wcsup.broker import jars, pinned
from wcsup.broker.java import Java
from wcsup.broker.locking import exclusive

CLASS_LIST = "classes.list"
"""The list's file in the data directory, until the archive is made."""


def path(java: Java) -> Path:
    """Return the path of the archive for a runtime."""
    runtime = hashlib.sha256(f"{java.program} {java.version}".encode()).hexdigest()[:8]
    return jars.cache_home() / f"classes-{runtime}.jsa"


def use(java: Java) -> list[str]:
    """Return the Java options to use the archive, if there is one."""
    archive = path(java)
    return [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []


def record(java: Java) -> list[str]:
    """Return the Java options to list the classes of this run, if there is no archive yet."""
    return [] if path(java).exists() else [f"-XX:DumpLoadedClassList={CLASS_LIST}"]


def making(java: Java, class_list: str) -> list[str | Path]:
    """Return the command that makes the archive. It reads a copy of `class_list`: the broker still adds to its own."""
    copy = path(java).with_suffix(f".{os.getpid()}.list")
    copy.write_text(class_list[: class_list.rindex("\n") + 1])
    return [sys.executable, "-c", f"from {__name__} import make; make()", java.program, path(java), copy]


def make() -> None:
    """Make the archive, in a separate process; the file appears only when it is complete."""
    os.nice(19)
    program, archive, class_list = map(Path, sys.argv[1:])
    new = archive.with_suffix(".new")
    command: list[str | Path] = [
        program,
        "-Xshare:dump",
        f"-XX:SharedClassListFile={class_list}",
        f"-XX:SharedArchiveFile={new}",
        "-XX:+UseG1GC",
        "-cp",
        ":".join(str(archive.parent / jar.filename) for jar in pinned.locked()),
    ]
    with exclusive(archive.with_suffix(".lock")):
        if not archive.exists() and subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0:
            new.replace(archive)
    class_list.unlink(missing_ok=True)
