"""What has to happen between a kill of the broker and its next start.

The metadata log of a killed broker says that it is registered and leads its partitions. Started on that, the
new broker takes up the transaction coordinator's work, is refused by its own controller for the rest of the old
session (9 s by default), then loses all its partitions for a moment. In that moment Kafka 4.4 takes a partition
without a leader for a deleted one (`TransactionMarkerChannelManager`, with `KRaftMetadataCache`'s
`getPartitionLeaderEndpoint`) and completes a prepared commit without its marker: no read_committed reader ever
gets past that. Tried: one kill in six right after a commit hung a partition.

So the controller alone is run first and told to forget the broker, which takes its partitions from it. The start
proper then finds what a clean shutdown leaves, and is not refused.
"""

import os
import signal
import subprocess
import time

from wcsup.broker import ports, process, settings, wire
from wcsup.broker.process import Kafka
from wcsup.broker.readiness import await_step
from wcsup.errors import BrokerUnreachableError

_SECONDS = 60.0
_ENDING_SECONDS = 10.0
_DONE = {0, 102}
"""No error, or BROKER_ID_NOT_REGISTERED: an earlier recovery came so far."""

# Ends the controller when our end of its standard input closes, be it by our death. Background jobs of a
# shell have no standard input; it is handed to the one that waits for its end as number 3. Output is added to
# that of the broker that was killed.
_SHELL = 'exec 3<&0; "$@" </dev/null >>"$0" 2>&1 3<&- & java=$!; { read -r _ <&3; kill $java; } & wait $java'


def was_killed(kafka: Kafka) -> bool:
    """Tell whether Kafka's logs were left by a broker that did not shut down (Kafka's `CleanShutdownFileHandler`)."""
    logs = kafka.data / settings.LOGS
    return logs.exists() and not (logs / ".kafka_cleanshutdown").exists()


def forget_killed(kafka: Kafka) -> None:
    """Let the controller of a directory whose broker was killed forget it.

    Raises BrokerUnreachableError, quoting the controller's output, where that fails.
    """
    port = ports.find_free()
    properties = kafka.data / "recovery.properties"
    properties.write_text(settings.controller(port))
    command = kafka.command("kafka.Kafka", properties)
    controller = subprocess.Popen(
        ["/bin/sh", "-c", _SHELL, process.OUTPUT, *command],
        cwd=kafka.data,
        start_new_session=True,
        stdin=subprocess.PIPE,
    )
    try:
        forgotten = await_step(
            lambda: wire.unregister_error(port, settings.NODE) in _DONE,
            deadline=time.monotonic() + _SECONDS,
            running=lambda: controller.poll() is None,
        )
    finally:
        _end(controller)
    if not forgotten:
        reason, file = process.reason_of_end(kafka.data)
        raise BrokerUnreachableError(f"the embedded Kafka was killed and can't be recovered: {reason}; see {file}")


def _end(controller: "subprocess.Popen[bytes]") -> None:
    try:
        controller.communicate(timeout=_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(controller.pid, signal.SIGKILL)
        controller.wait()
