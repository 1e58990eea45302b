"""A worker that speaks the supervisor's protocol and behaves as its test says; no Kafka, few imports, quick to start.

`WCSUP_FAKE` names a JSON file that maps slot names (or `*`) to a behaviour:

- `run`: ready at once, beats and commits until it is to drain (the default)
- `crash`: exits 1 with a traceback; `exit N`: logs an error and exits N
- `poison`: ready, then crashes without a commit
- `hang`: ready, then blocked inside a C call
- `freeze`: ready, then stops itself (SIGSTOP)
- `stubborn`: runs and ignores SIGTERM
- `noisy`: runs and writes far more log lines than anyone can read
- `slow`: never ready
- `wide`: runs with partitions 0 to 2, whatever its slot
- `garbage`: runs, and what it reports cannot be read
- `big N`: runs with N MB of memory in use
"""

import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1


def watch_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(9)


def main() -> None:  # noqa: PLR0912, PLR0915 - a script: one thing after the other
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    line = sys.stdin.readline()
    if not line:
        sys.exit(9)
    threading.Thread(target=watch_parent, daemon=True).start()
    job = json.loads(line)
    name = f"{job['role']}-{job['slot']}"
    fake = os.environ.get("WCSUP_FAKE")
    if fake:
        with open(fake) as file:  # noqa: PTH123 - importing pathlib takes longer than all the rest
            behaviours = json.load(file)
    else:
        behaviours = {}
    behaviour, _, argument = behaviours.get(name, behaviours.get("*", "run")).partition(" ")
    draining: list[int] = []
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: draining.append(1))

    def log(level: str, event: str) -> None:
        print(
            json.dumps({"time": "", "level": level, "slot": name, "pid": os.getpid(), "event": event}), file=sys.stderr
        )

    beat = 0

    def report(phase: str, *, ready: bool, commits: int = 0) -> None:
        nonlocal beat
        beat += 1
        counters = {"records": 10 * commits, "words": 100 * commits, "commits": commits, "aborts": {}}
        bounds = [10.0**power for power in range(7)]
        histogram = {"bounds": bounds, "counts": [0, commits, 0, 0, 0, 0, 0, 0], "sum": 10.0 * commits}
        value = {
            "phase": phase,
            "beat": beat,
            "ready": ready,
            "partitions": [0, 1, 2] if behaviour == "wide" else [int(job["slot"])],
            "restoring": {},
            "counters": {**counters, "batch_records": histogram, "step_seconds": {}},
            "top": [],
        }
        line = json.dumps(value) if behaviour != "garbage" or beat < 3 else '{"phase": 7}'
        os.write(job["report_fd"], line.encode() + b"\n")

    report("starting", ready=False)
    if behaviour == "crash":
        raise RuntimeError("a bug")
    if behaviour == "exit":
        log("error", f"leaving with {argument}")
        sys.exit(int(argument))
    memory = bytearray(b"x" * (int(argument) << 20)) if behaviour == "big" else b""
    log("info", f"at work with {len(memory)} bytes")
    report("running", ready=behaviour != "slow")
    if behaviour == "poison":
        raise RuntimeError("a record that nobody can read")
    if behaviour == "hang":
        ctypes.CDLL(None).sleep(1000)
    if behaviour == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    commits = 0
    while not draining:
        commits += 1
        report("running", ready=behaviour != "slow", commits=0 if behaviour == "slow" else commits)
        if behaviour == "noisy":
            os.write(2, b"noise that no one will ever read to its end\n" * 1000)
        else:
            time.sleep(0.05)
    report("draining", ready=False, commits=commits)
    log("info", "drained")


main()
