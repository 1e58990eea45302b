"""The recovery between a kill of the broker and its next start.

In the metadata log a killed broker is still registered and leads its partitions. A new broker that is started on this
log takes up the transaction coordinator's work, but its own controller refuses it for the rest of the old session (9 s
by default). Then the new broker loses all its partitions for a moment. In that moment Kafka 4.4 takes a partition
without a leader for a deleted one (`TransactionMarkerChannelManager`, with `KRaftMetadataCache`'s
`getPartitionLeaderEndpoint`) and completes a prepared commit without its marker: the transaction hangs, and no
read_committed reader ever gets past it. Tried: one kill in six right after a commit hung a partition.

So the controller is first run alone and told to unregister the broker, which takes the broker's partitions away. The
next start then finds the metadata that a clean shutdown leaves, and is not refused.
"""

import os
import signal
import subprocess
import time

from wcsup.broker import ports, process, settings, wire
from wcsup.broker.process import Kafka
from wcsup.broker.readiness import await_step
from wcsup.broker.security import Security
from wcsup.errors import BrokerUnreachableError

_SECONDS = 60.0
_ENDING_SECONDS = 10.0
_DONE = {0, 102}
"""No error, or BROKER_ID_NOT_REGISTERED: an earlier recovery has already unregistered the broker."""

# Ends the controller when this process closes its end of the standard input, or dies. Background jobs of a shell have
# no standard input, so it is passed as descriptor 3 to the job that waits for its end. The output is appended to that
# of the killed broker.
_SHELL = 'exec 3<&0; "$@" </dev/null >>"$0" 2>&1 3<&- & java=$!; { read -r _ <&3; kill $java; } & wait $java'


def was_killed(kafka: Kafka) -> bool:
    """Tell whether the last broker ended without a clean shutdown (Kafka's `CleanShutdownFileHandler`)."""
    logs = kafka.data / settings.LOGS
    return logs.exists() and not (logs / ".kafka_cleanshutdown").exists()


def forget_killed(kafka: Kafka, security: Security | None = None) -> None:
    """Have the directory's controller unregister the killed broker; `security` is that of a secured one.

    Raises BrokerUnreachableError, quoting the controller's output, where that fails.
    """
    port = ports.find_free()
    properties = kafka.data / "recovery.properties"
    properties.write_text(settings.controller(port) + (security.locks(kafka.data) if security else ""))
    tls = security.context() if security else None
    command = kafka.command("kafka.Kafka", properties)
    controller = subprocess.Popen(
        ["/bin/sh", "-c", _SHELL, process.OUTPUT, *command],
        cwd=kafka.data,
        start_new_session=True,
        stdin=subprocess.PIPE,
    )
    try:
        forgotten = await_step(
            lambda: wire.unregister_error(port, settings.NODE, tls) in _DONE,
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
