"""Traces of real runs as behaviours of the specification.

A trace is what `wcsup.process.trace` writes. TLC looks for a behaviour of docs/protocol/Trace.tla with its steps. Real
offsets become the model's: of each partition those at which batches begin and end are kept, and what is between two of
them becomes one line of the model.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proof.models import FAULTS

Line = dict[str, Any]
"""A line of a trace."""

_FAULTS = 1000
"""How many faults of each kind a trace may have."""
_BEGINNINGS = {"usable": "transaction", "disturbed": "ask", "ended": "renew"}
"""Where a process of the model is after `Begin`, by the state of its producer."""


class NotATraceError(Exception):
    """What can't be put in the model's terms."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the model that stands for a line of the trace, or for a part of it."""

    number: int
    """The line's number in the file, from 1 on."""
    said: str
    """The step as a record of TLA+, without its brackets."""
    since: int
    """When the step can have begun at the earliest: then the process's line before was written."""
    until: int
    """When the step was over."""


@dataclass(slots=True)
class Process:
    """One process of a run."""

    slot: str
    lines: list[tuple[int, Line]] = field(default_factory=list)
    """Its lines, with their numbers in the file."""
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trace:
    """The workers of one role in a trace, in the model's terms."""

    module: str
    """What TLC reads as the module Run."""
    configuration: str
    processes: list[Process]

    def departure(self, output: str) -> int | None:
        """Return the line where the trace departs from the specification, as TLC tells; none where it does not.

        It is the first line that no behaviour takes after as many lines as any behaviour takes.
        """
        reached = re.findall(r'<<"explained", <<([\d, ]+)>>>>', output)
        done = [int(count) for count in reached[-1].split(",")] if reached else [0] * len(self.processes)
        left = [
            one.steps[count].number for one, count in zip(self.processes, done, strict=True) if count < len(one.steps)
        ]
        return min(left, default=None)


def read(path: Path) -> list[Line]:
    """Return the lines of a trace. Raises `NotATraceError` where there are none."""
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise NotATraceError(f"not a trace: {error}") from error
    if not lines:
        raise NotATraceError("there is no step in it")
    return lines


def roles(lines: list[Line]) -> list[str]:
    """Return the roles of the workers in a trace."""
    return sorted({line["slot"].partition("-")[0] for line in lines})


def translate(lines: list[Line], role: str = "map") -> Trace:
    """Put the workers of one role in the model's terms. Raises `NotATraceError` where that can't be done.

    Reducers are taken as mappers: their loop and their commits are the same, and the trace has nothing of their stores.
    """
    found = _processes(lines, role)
    ends = _offsets(one for process in found for _, one in process.lines)
    if not ends:
        raise NotATraceError(f"no worker of the role {role} has read a partition in this trace")
    blank: dict[int, set[int]] = {p: set() for p in ends}
    for process in found:
        process.steps = list(_Translator(ends, blank).steps(process.lines))
    logs = " @@ ".join(_log(p, len(known) - 1, blank[p]) for p, known in ends.items())
    numbers = range(1, len(found) + 1)
    defined = "\n".join(f"StepsOf{q} == <<\n{_sequence(found, process)}\n>>" for q, process in enumerate(found, 1))
    module = f"""---- MODULE Run ----
EXTENDS Trace
{defined}
StepsOfAll == <<{", ".join(f"StepsOf{q}" for q in numbers)}>>
NamesOfAll == <<{", ".join(f'"{process.slot}"' for process in found)}>>
LogsOfAll == ({logs})
Stage == [n \\in Names |-> "lines"]
Hosts == [n \\in Names |-> n]
HomeOfAll == [l \\in Lines |-> {min(ends)}]
Faulty == [{", ".join(f"{kind} |-> {_FAULTS}" for kind in FAULTS)}]
====
"""
    configuration = f"""
SPECIFICATION TraceSpec
CONSTANTS
  Partitions = {_set(ends)}
  Names = {_names({process.slot for process in found})}
  Input <- Stage
  Lines = {{1}}
  Home <- HomeOfAll
  WithPositions = TRUE
  Verified = TRUE
  Processes = {_set(numbers)}
  NameOf <- NamesOfAll
  HostOf <- Hosts
  Logs0 <- LogsOfAll
  Budget <- Faulty
  Removed = {{}}
  Gaps = {{"start-race"}}
  Steps <- StepsOfAll
CONSTRAINT Told
"""
    return Trace(module, configuration, found)


def _processes(lines: list[Line], role: str) -> list[Process]:
    """Return the processes of a role in the order of their starts."""
    found: dict[tuple[str, int], Process] = {}
    for number, line in enumerate(lines, 1):
        if line["slot"].partition("-")[0] == role:
            found.setdefault((line["slot"], line["pid"]), Process(line["slot"])).lines.append((number, line))
    return list(found.values())


def _offsets(lines: Iterable[Line]) -> dict[int, list[int]]:
    """Return by partition the offsets at which batches begin or end, in order."""
    found: dict[int, set[int]] = {}
    for line in lines:
        if line["step"] in {"found", "begin"}:
            for partition, offset in line["offsets"].items():
                found.setdefault(int(partition), set()).add(offset)
    return {partition: sorted(offsets) for partition, offsets in sorted(found.items())}


class _Translator:
    """Puts the lines of one process in the model's terms."""

    def __init__(self, ends: dict[int, list[int]], blank: dict[int, set[int]]) -> None:
        """`ends` has the real offsets that the model keeps; lines of the model without a word are added to `blank`."""
        self._ends, self._blank = ends, blank
        self._at: dict[int, int] = {}
        """Up to where the process has committed its partitions."""
        self._batch: dict[int, int] = {}
        """Up to where the batch goes, of the partitions that it has records of."""

    def steps(self, lines: list[tuple[int, Line]]) -> Iterator[Step]:
        """Yield the steps of the model."""
        since = lines[0][1]["at"]
        for number, line, until in _ordered(lines):
            for name, more in self._said(line):
                yield Step(number, f'step |-> "{name}", {more}', since, until)
            since = until

    def _said(self, line: Line) -> list[tuple[str, str]]:
        """Return the steps that a line stands for: the name of each, and its other fields."""
        name = line["step"]
        if name == "begin":
            return self._begin(line)
        given: dict[str, Callable[[Line], list[str]]] = {
            "assigned": self._assigned,
            "lost": lambda line: [f"partitions |-> {_set(line['partitions'])}"],
            "revoked": lambda line: [f"partition |-> {p}" for p in line["partitions"]],
            "found": self._found,
            "produced": self._produced,
            "offsets": lambda line: [f"offsets |-> {self._sent(line)}"],
            "commit": self._commit,
            "abort": lambda line: [f"usable |-> {_truth(line['usable'])}"],
            "verdict": lambda line: [f'fenced |-> "{line["fenced"]}", successor |-> {_truth(line["successor"])}'],
        }
        said = given.get(name)
        return [(name, more) for more in (["plain |-> TRUE"] if said is None else said(line))]

    @staticmethod
    def _assigned(line: Line) -> list[str]:
        return [f"partitions |-> {_set(line['partitions'])}"] if line["partitions"] else []

    def _found(self, line: Line) -> list[str]:
        self._at |= self._ranks(line)
        return [f"partition |-> {p}, offset |-> {self._at[p]}" for p in self._ranks(line)]

    def _begin(self, line: Line) -> list[tuple[str, str]]:
        self._batch = {p: offset for p, offset in self._ranks(line).items() if offset != self._at.get(p)}
        at = f'at |-> "{_BEGINNINGS[line["producer"]]}"'
        if not self._batch:
            return [("idle", f"offsets |-> {self._sent(line)}, {at}")]
        reads = [("read", f"partition |-> {p}, offset |-> {offset}") for p, offset in self._batch.items()]
        return [*reads, ("begin", at)]

    def _produced(self, line: Line) -> list[str]:
        kinds = {
            kind for topic, n in line["records"].items() for end, kind in _KINDS.items() if n and topic.endswith(end)
        }
        if "produce" not in kinds:
            for p, offset in self._batch.items():
                self._blank[p].update(range(self._at.get(p, offset) + 1, offset + 1))
        return [f"kinds |-> {_names(kinds)}"]

    def _sent(self, line: Line) -> str:
        """Return the offsets that a commit sends: those of partitions of which it has records, or else all."""
        # After a mixed record a reducer also sends the offsets of partitions that had no record.
        ranks = self._ranks(line)
        sent = {p: offset for p, offset in ranks.items() if offset != self._at.get(p)} or ranks
        return f"{{{', '.join(f'[partition |-> {p}, offset |-> {o}]' for p, o in sent.items())}}}"

    def _commit(self, _line: Line) -> list[str]:
        self._at |= self._batch
        return ["plain |-> TRUE"]

    def _ranks(self, line: Line) -> dict[int, int]:
        """Return the offsets of a line as the model's, by partition; an offset that no batch has is beyond all."""
        found: dict[int, int] = {}
        for partition, offset in line["offsets"].items():
            known = self._ends.get(int(partition), [])
            found[int(partition)] = known.index(offset) if offset in known else len(known)
        return found


_KINDS = {"words": "produce", "counts": "produce", "positions": "position"}
"""Which request of the model stands for the records of a topic."""


def _ordered(lines: list[tuple[int, Line]]) -> Iterator[tuple[int, Line, int]]:
    """Yield the lines with the time at which each was over.

    A worker whose producer has ended makes a new one right before it commits (`Worker._turn`). In the model the commit
    does that.
    """
    left = list(lines)
    before = ""
    while left:
        number, line = left.pop(0)
        is_early = line["step"] == "producer" and before not in {"start", "asked", "begin"}
        if is_early and left and left[0][1]["step"] == "begin":
            begin, next_line = left.pop(0)
            yield begin, {**next_line, "producer": "ended"}, next_line["at"]
            yield number, line, next_line["at"]
            before = "producer"
        else:
            yield number, line, line["at"]
            before = line["step"]


def _log(partition: int, count: int, blank: set[int]) -> str:
    """Return the input of a partition as TLA+: so many lines of one word, and some without."""
    value = f"[l \\in {{1}} |-> IF i \\in {_set(blank)} THEN 0 ELSE 1]"
    return f'<<"lines", {partition}>> :> [i \\in 1..{count} |-> {value}]'


def _sequence(found: list[Process], process: Process) -> str:
    """Return the steps of a process as the elements of a sequence of TLA+."""
    texts = []
    for step in process.steps:
        after = [0 if one is process else sum(other.until < step.since for other in one.steps) for one in found]
        texts.append(f"  [{step.said}, after |-> <<{', '.join(map(str, after))}>>]")
    return ",\n".join(texts)


def _set(numbers: Iterable[int]) -> str:
    return "{" + ", ".join(map(str, sorted(numbers))) + "}"


def _names(names: Iterable[str]) -> str:
    return "{" + ", ".join(f'"{name}"' for name in sorted(names)) + "}"


def _truth(value: object) -> str:
    return "TRUE" if value else "FALSE"
