"""What `wcsup status` prints, made of the objects of `status --json`.

A host's object may be of another version of wcsup: what it lacks is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wcsup.kafka.ownership import partition_list
from wcsup.observe.figures import age, columns, latency_text, restored, size, span


def of_host(snapshot: Mapping[str, Any], state: Path) -> str:
    """Return the state of this host's run; `state` is the state directory, which may have none."""
    if "pid" not in snapshot:
        return f"no wcsup run has its state in {state}\n{_left(snapshot)}"
    return f"{snapshot['application']} on {snapshot['bootstrap_servers']}\n{_run(snapshot)}\n{_left(snapshot)}"


def of_all(everything: Mapping[str, Any]) -> str:
    """Return the state of all hosts of the application, and what is left to count."""
    paragraphs = []
    for host in everything["hosts"]:
        name = f"host {host['host']} on {host['machine']}"
        if host["ended"] is not None:
            paragraphs.append(f"{name}: ended at {host['told_at']}: {host['ended']}")
        elif host["silent"]:
            slots = ", ".join(worker["slot"] for worker in host.get("workers", ()))
            paragraphs.append(f"{name}: silent since {host['told_at']}; it had {slots or 'no workers'}")
        elif "workers" not in host:
            paragraphs.append(f"{name}: its state is of wcsup {host['version']}, which is newer than this one")
        else:
            paragraphs.append(f"{name}, {_run(host)}")
    live = [host for host in everything["hosts"] if not host["silent"]]
    workers = [worker for host in live for worker in host.get("workers", ())]
    ready = sum(worker["ready"] for worker in workers)
    heard = f"{len(live)} of {len(everything['hosts'])} hosts are heard of, {ready} of {len(workers)} workers are ready"
    last = [heard if everything["hosts"] else "no host of the application is heard of"]
    for name, partitions in everything["unowned"].items():
        if partitions:
            last.append(f"no host tells of a worker for partitions {partition_list(partitions)} of {name}")
    last.append(_left(everything))
    return "\n\n".join([*paragraphs, "\n".join(last)])


def _run(snapshot: Mapping[str, Any]) -> str:
    """Return what one run does: a line about the whole, its speed, a table of its workers, and reasons."""
    workers: Sequence[dict[str, Any]] = snapshot["workers"]
    head = [("slot", "pid", "state", "cpu", "memory", "restarts", "records", "partitions")]
    rows = [
        (
            worker["slot"],
            "" if worker["pid"] is None else str(worker["pid"]),
            state(worker),
            "" if worker["cpu_percent"] is None else f"{worker['cpu_percent']:.0f} %",
            "" if worker["rss_bytes"] is None else size(worker["rss_bytes"]),
            worker["restarts"],
            worker["counters"]["records"],
            partition_list(worker["partitions"]),
        )
        for worker in workers
    ]
    condition = snapshot["stopping"] or ("ready" if snapshot["ready"] else "not ready")
    if snapshot["broker"]["reachable"] is False:
        condition += f", no broker answers since {snapshot['broker']['since']}"
    title = f"supervisor {snapshot['pid']}, up {span(snapshot['uptime'])}, {condition}"
    reasons = [f"{worker['slot']}: {reason}" for worker in workers for reason in _reasons(worker)]
    return "\n".join([title, *_speed(snapshot), columns(head + rows, "<><>>>><"), *reasons, *_in_memory(workers)])


def state(worker: Mapping[str, Any]) -> str:
    """Return a worker's state, while stores are opened with the share that is read, or how long it was silent."""
    if worker.get("silent"):
        return f"no heartbeat for {worker['heartbeat_seconds']:.0f} s"
    if worker["state"] != "restoring":
        return str(worker["state"])
    return f"{worker['state']}{restored(worker['restoring'], worker['restore_seconds'])}"


def _speed(snapshot: Mapping[str, Any]) -> Iterator[str]:
    if "lines_per_second" not in snapshot:
        return  # an older wcsup told it
    yield (
        f"{snapshot['lines_per_second']:,.0f} lines/s, {snapshot['words_per_second']:,.0f} words/s, "
        f"latency from line to total: {latency_text(snapshot['latency'])}"
    )


def _reasons(worker: Mapping[str, Any]) -> Iterator[str]:
    if worker.get("failed"):
        yield f"given up: {worker['failed']}"
    elif worker.get("restarts") and worker.get("last_exit"):
        yield f"restarted {worker['restarts']} times; its last process: {worker['last_exit']}"
    if worker.get("aborts_in_row"):
        aborts = ", ".join(f"{count} {reason}" for reason, count in worker["aborts_in_row"].items())
        yield f"transactions aborted since its last commit: {aborts}"


def _in_memory(workers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say how many words need no look-up in the stores."""
    words, known, taken, bound = (
        sum(worker[name] for worker in workers)
        for name in ("distinct", "words_in_memory", "bytes_in_memory", "state_memory")
    )
    if words:
        yield f"totals in memory: {known:,} of {words:,} words, {size(taken)} of at most {size(bound)}"


def _left(snapshot: Mapping[str, Any]) -> str:
    left = [
        f"{snapshot[name]:,} {what}"
        for name, what in (("lines_lag", "lines"), ("words_lag", "words records"))
        if snapshot[name] is not None
    ]
    seconds = snapshot.get("lines_retention_seconds")
    if seconds is not None:
        left[0] += f" (Kafka may delete the first of them in {span(seconds)})"
    oldest = snapshot.get("oldest_uncounted_seconds")
    waits = f"; the oldest line waits for {age(oldest)}" if oldest else ""
    return "left to count: " + (", ".join(left) or "unknown") + waits
