"""Fetches jars from Maven Central or the user's local Maven repository, by jgo. Imported only if a jar is missing."""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from wcsup.broker.pinned import LOCK, ROOTS, Jar
from wcsup.errors import BrokerUnreachableError, ConfigurationError

try:
    import requests
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import Artifact, MavenContext, PythonResolver
except ImportError as error:
    raise ConfigurationError(
        "the embedded Kafka needs jgo: pip install 'wcsup[broker]', or name a Kafka with --bootstrap-servers"
    ) from error

_ATTEMPTS = 3
_AT_ONCE = 6
_ANSWER_SECONDS = 30
_STAGING = "fetching-"

Advance = Callable[[int], None]
"""Called with the number of new bytes."""


def download(jars: list[Jar], home: Path, *, title: str, quiet: bool = False) -> None:
    """Put `jars` into the folder `home`, each only when it is complete and has its hash.

    jgo writes directly to a jar's final path, so a kill could leave half a jar there. So jgo writes to a staging
    folder, and complete jars are moved. The caller ensures that only one process at a time does this.
    Raises BrokerUnreachableError for a jar that can't be fetched.
    """
    for left_by_a_kill in home.glob(f"{_STAGING}*"):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(dir=home, prefix=_STAGING) as staging,
        _progress(jars, title, quiet=quiet) as advance,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        remote = _context(Path(staging), advance)
        fetched = [(jar, pool.submit(_fetch, jar, remote, advance)) for jar in jars]
        try:
            for jar, future in fetched:
                future.result().replace(home / jar.filename)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def resolve_lock(roots: tuple[str, ...]) -> str:
    """Return a lock with every jar that `roots` need to run, as Maven resolves them."""
    context = MavenContext(timeout=_ANSWER_SECONDS)
    found, closure = context.resolver.resolve([context.create_dependency(root) for root in roots])
    lines = ["# Written by `python -m wcsup.broker.maven`: coordinate, bytes, SHA-256."]
    for dependency in sorted([*found, *closure], key=lambda d: (d.groupId, d.artifactId)):
        content = dependency.artifact.resolve().read_bytes()
        coordinate = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
        lines.append(f"{coordinate} {len(content)} {hashlib.sha256(content).hexdigest()}")
    return "\n".join(lines) + "\n"


def _context(staging: Path, advance: Advance) -> MavenContext:
    """Return jgo's view of Maven, with the repositories of the user's jgo settings beside Maven Central."""

    @contextmanager
    def progress(_filename: str, _size: int) -> Iterator[Advance]:
        yield advance

    return MavenContext(
        resolver=PythonResolver(progress_callback=progress),
        repo_cache=staging,
        remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
        timeout=_ANSWER_SECONDS,
    )


def _fetch(jar: Jar, context: MavenContext, advance: Advance) -> Path:
    """Return a path in the staging folder that holds `jar`."""
    artifact = context.create_dependency(jar.coordinate).artifact
    place = artifact.component.path_prefix / artifact.filename
    local, target = GlobalSettings.load().repo_cache / place, context.repo_cache / place
    if jar.is_at(local):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(local, target)
        advance(jar.size)
        return target
    reason = ""
    for _ in range(_ATTEMPTS):
        reason = _try(artifact)
        if jar.is_at(target):
            return target
        target.unlink(missing_ok=True)
    raise BrokerUnreachableError(
        f"cannot fetch {jar.coordinate}, which the embedded Kafka needs: {reason}; "
        "go online once, or name a Kafka with --bootstrap-servers"
    )


def _try(artifact: Artifact) -> str:
    """Let jgo fetch; return why its file is not the jar, for the case that it is not."""
    try:
        artifact.resolve()
    except requests.ConnectionError:
        return "Maven Central can't be reached"
    except requests.RequestException as error:
        return f"Maven Central does not deliver ({type(error).__name__})"
    except RuntimeError:  # jgo raises this for any HTTP status but 200
        return "Maven Central does not have it"
    return "what Maven Central delivers is not what jars.lock says"


@contextmanager
def _progress(jars: list[Jar], title: str, *, quiet: bool) -> Iterator[Advance]:
    """Show the fetch on standard error: a bar on a terminal, one line elsewhere."""
    total = sum(jar.size for jar in jars)
    if quiet:
        yield lambda _size: None
    elif not sys.stderr.isatty():
        print(f"wcsup: fetching {title} from Maven Central, {total / 1e6:.0f} MB", file=sys.stderr)
        yield lambda _size: None
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total)
            yield lambda size: bar.advance(task, size)


if __name__ == "__main__":
    LOCK.write_text(resolve_lock(ROOTS))
