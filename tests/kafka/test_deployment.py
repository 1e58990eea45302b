"""What runs in a container runs here as its files say: entry point, probes, hook, stop signal, permissions.

No container engine is needed. Linux's own tools make what an engine would make: process 1 of a namespace, as the
image's user, without capabilities, on a root that is read-only but for the volume.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import psutil
import pytest
from application import Application, prose, wait_for
from deployed import KUBERNETES, compose, container, image, kustomization, pod, pod_environment
from reference import recount
from website import Pages

from wcsup.broker import ports

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "setpriv"))),
    reason="it takes root, unshare, nsenter and setpriv to make a container of a process",
)

ROOT = """
set -e
mount --bind "$WCSUP_STATE_DIR" "$WCSUP_STATE_DIR"
mount -o remount,bind,ro /
exec "$@"
"""


def as_user() -> list[str]:
    """What a command runs behind to be the image's user, who has no capability but for one.

    The user may read all that root may, since this checkout and its Python may be root's.
    """
    user, group = image().user.split(":")
    sets = [f"--{kind}=-all,+dac_read_search" for kind in ("bounding-set", "inh-caps", "ambient-caps")]
    return ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs", *sets]


@dataclass(frozen=True, slots=True)
class Container:
    """A running container of the image."""

    environment: dict[str, str]
    process: "subprocess.Popen[bytes]"
    pages: Pages

    @property
    def first(self) -> psutil.Process:
        """Process 1 in it."""
        [found] = psutil.Process(self.process.pid).children()
        return found

    def serves(self, path: str) -> bool:
        """Whether a probe of this path would succeed."""
        assert self.process.poll() is None, "it has ended"
        try:
            return self.pages.get(path)[0] == 200
        except URLError:  # it does not listen yet
            return False

    def run(self, command: list[str]) -> int:
        """Run a command in it, as a probe or a hook is run, and return its status."""
        inside = ["nsenter", "--target", str(self.first.pid), "--mount", "--pid", "--", *as_user()]
        return subprocess.run([*inside, *command], env=self.environment, timeout=60, check=False).returncode


@contextmanager
def running(
    command: list[str], environment: dict[str, str], application: Application, state: Path
) -> Iterator[Container]:
    """Run a command of the image with an environment, in which only addresses and places are changed."""
    config = application.config
    address = f"127.0.0.1:{ports.find_free()}"
    state.mkdir()
    os.chown(state, 0, int(image().user.split(":")[1]))  # as Kubernetes makes a volume with an fsGroup
    state.chmod(0o2770)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WCSUP_")}
    here = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WCSUP_BOOTSTRAP_SERVERS": str(config.bootstrap_servers),
        "WCSUP_APP_ID": config.app_id,
        "WCSUP_TOPIC_PREFIX": config.topic_prefix,
        "WCSUP_PARTITIONS": str(config.partitions),
        "WCSUP_STATE_DIR": str(state),
        "WCSUP_RUN_HTTP": address,
    }
    assert image().environment.keys() <= {*here, "WCSUP_LOG_FORMAT"}
    environment = ours | environment | here
    namespace = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
    process = subprocess.Popen(
        [*namespace, "sh", "-c", ROOT, "sh", *as_user(), *image().entrypoint, *command], env=environment
    )
    try:
        yield Container(environment, process, Pages(f"http://{address}"))
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may go through, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_a_pod_and_a_container_count_and_end_as_their_files_say(application: Application, place: Path) -> None:
    application.make_topics()
    lines = prose(2000, seed=26)
    user = int(image().user.split(":")[0])

    # Given the pod wcsup-0, which serves what its probes ask for
    state = place / "pod"
    given = pod_environment("wcsup-0")
    [properties] = kustomization()["secretGenerator"][0]["files"]
    assert given["WCSUP_KAFKA_CONFIG"] == f"/etc/wcsup/{properties}"
    given["WCSUP_KAFKA_CONFIG"] = str(shutil.copy(KUBERNETES / properties, place))
    with running(container()["args"], given, application, state) as host:
        startup = container()["startupProbe"]
        alive = startup["periodSeconds"] * startup["failureThreshold"]
        wait_for("it has started", lambda: host.serves(startup["httpGet"]["path"]), alive)
        wait_for("it is ready", lambda: host.serves(container()["readinessProbe"]["httpGet"]["path"]))
        assert host.serves(container()["livenessProbe"]["httpGet"]["path"])

        # When lines come, then the host of the pod's name counts them, and nobody else may write its state
        application.feed(lines[:1000])
        application.wait_counted()
        assert application.counts() == recount(lines[:1000])
        assert '"host": "wcsup-0"' in (state / "application.json").read_text()
        for path in state.rglob("*"):
            found = path.lstat()
            assert found.st_uid == user, path
            assert not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or path.is_symlink(), path

        # And it drains before it is told to end
        workers = host.first.children(recursive=True)
        assert len(workers) >= 4
        assert host.run(container()["lifecycle"]["preStop"]["exec"]["command"]) == 0
        assert host.process.wait(pod()["spec"]["terminationGracePeriodSeconds"]) == 0
        assert not any(worker.is_running() for worker in workers)

    # Given a container of the compose file, with its own volume
    service = compose()["services"]["wcsup"]
    given = image().environment | service["environment"]
    with running(service["command"].split(), given, application, place / "volume") as host:
        here = host.environment["WCSUP_RUN_HTTP"]
        check = [word.replace("127.0.0.1:9090", here) for word in image().health_command]
        wait_for("it is ready", lambda: host.serves("/readyz"))
        assert host.run(check) == 0
        application.feed(lines[1000:])
        application.wait_counted()
        assert application.counts() == recount(lines)

        # When the engine stops it, then it ends well within its time
        host.first.send_signal(signal.Signals[image().stop_signal])
        assert host.process.wait(float(service["stop_grace_period"].rstrip("s"))) == 0
    assert subprocess.run(check, env=host.environment, capture_output=True, timeout=60, check=False).returncode != 0
