"""What TLC checks of docs/protocol: bounds, within which all must hold, and mutants, each of which must fail."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

INVARIANTS = ("EachLineOnce", "TotalsRise", "StoreIsFold", "FencedByALaterOne", "NameIsNotLost", "NothingHangs")
LIVENESS = "EveryLineIsCounted"
FAULTS = ("late", "crashes", "aborts", "moves", "sessions", "timeouts", "expiries")
"""The kinds of faults that a budget may have: see `Faults` in Wcsup.tla."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Within what TLC looks at every behaviour."""

    about: str
    names: str = '{"a"}'
    processes: int = 1
    partitions: str = "{0}"
    lines: int = 1
    stage: str = "Mapper"
    """A definition of Bounds.tla, as are the four below: which stage each name is."""
    logs: str = "OneLine"
    home: str = "AllHome0"
    processes_of: str = "Two"
    hosts: str = "OwnHosts"
    at_work: bool = False
    """Whether behaviours begin when the first process works on all partitions."""
    positions: bool = False
    verified: bool = True
    budget: Mapping[str, int] = field(default_factory=dict)

    def with_budget(self, **budget: int) -> "Bounds":
        """Return the same with another budget of faults."""
        return replace(self, budget=budget)


@dataclass(frozen=True, slots=True)
class Model:
    """One run of TLC."""

    name: str
    bounds: Bounds
    removed: str | None = None
    """The guard that a mutant leaves out."""
    gap: str | None = None
    violates: str | None = None
    """The invariant that TLC has to find violated; none where all have to hold."""
    live: bool = False
    """Whether it is checked that every line is counted in the end, and not the invariants."""


NETWORK = Bounds(
    "a mapper, two lines, late and repeated requests, aborts",
    lines=2,
    logs="TwoLines",
    at_work=True,
    budget={"late": 1, "aborts": 1},
)
NAMES = Bounds(
    "a mapper, and its successor that is started at any moment: kills, aborts",
    processes=2,
    at_work=True,
    budget={"crashes": 1, "aborts": 1},
)
GROUP = Bounds(
    "two mappers, a session that times out while its process works",
    names='{"a", "b"}',
    processes=2,
    processes_of="Others",
    at_work=True,
    budget={"sessions": 1},
)
EXPIRY = Bounds(
    "a group whose offsets expire, and the topic positions",
    processes=2,
    positions=True,
    at_work=True,
    budget={"crashes": 1, "sessions": 1, "expiries": 1},
)
STORE = Bounds(
    "two reducers on hosts of their own, a store each; a session that times out",
    names='{"a", "b"}',
    processes=2,
    processes_of="Others",
    lines=2,
    stage="Reducer",
    logs="TwoWords",
    at_work=True,
    budget={"sessions": 1},
)
REBIRTH = Bounds(
    "a reducer that is killed, and its successor with the same store",
    processes=2,
    lines=2,
    stage="Reducer",
    logs="TwoWords",
    at_work=True,
    budget={"crashes": 1},
)
MIXED = Bounds(
    "two reducers, two partitions, a record with words of both",
    names='{"a", "b"}',
    processes=2,
    processes_of="Others",
    partitions="{0, 1}",
    lines=3,
    stage="Reducer",
    logs="MixedAndOne",
    home="HomeOfThree",
    at_work=True,
    budget={"sessions": 1},
)
PIPELINE = Bounds(
    "a mapper and a reducer, from a line to its total",
    names='{"a", "b"}',
    processes=2,
    processes_of="Others",
    stage="Pipeline",
    budget={},
)

SMALL = (
    Model("network", NETWORK),
    Model("names", NAMES),
    Model("names, time-outs", NAMES.with_budget(timeouts=1)),
    Model("group", GROUP),
    Model("group, moves", GROUP.with_budget(moves=1)),
    Model("expiry", EXPIRY),
    Model("store", STORE),
    Model("rebirth", REBIRTH),
    Model("mixed", MIXED),
    Model("pipeline", PIPELINE),
    Model("every line is counted", NETWORK, live=True),
)

MUTANTS = (
    Model("without renew-after-silence", NETWORK.with_budget(late=1), "renew-after-silence", violates="EachLineOnce"),
    Model("without renew-after-abort", NETWORK.with_budget(aborts=1), "renew-after-abort", violates="EachLineOnce"),
    Model("without empty-question", NETWORK.with_budget(late=1), "empty-question", violates="EachLineOnce"),
    Model("without question", NAMES.with_budget(aborts=1), "question", violates="FencedByALaterOne"),
    Model("without generation", GROUP, "generation", violates="EachLineOnce"),
    Model("without drop-lost", GROUP, "drop-lost", violates="EachLineOnce"),
    Model(
        "without commit-before-release", GROUP.with_budget(moves=1), "commit-before-release", violates="EachLineOnce"
    ),
    Model("without stable-offsets", STORE, "stable-offsets", violates="EachLineOnce"),
    Model("without end", STORE, "end", violates="EachLineOnce"),
    Model("without offset-before-end", STORE, "offset-before-end", violates="EachLineOnce"),
    Model("without stamp-in-batch", REBIRTH, "stamp-in-batch", violates="EachLineOnce"),
    Model("without retain-after-commit", REBIRTH.with_budget(aborts=1), "retain-after-commit", violates="EachLineOnce"),
    Model("without all-offsets", MIXED, "all-offsets", violates="EachLineOnce"),
    Model("without forward", MIXED, "forward", violates="EachLineOnce"),
    Model("without positions", EXPIRY, "positions", violates="EachLineOnce"),
    Model("without positions-end", EXPIRY, "positions-end", violates="EachLineOnce"),
)

SPARED = (Model("without own-marker", STORE, "own-marker"),)
"""Guards without which all holds within these bounds: docs/proof.md says what each is for."""

GAPS = (
    Model(
        "two starts at one moment",
        replace(NAMES, at_work=False).with_budget(),
        gap="start-race",
        violates="FencedByALaterOne",
    ),
    Model(
        "a new start after a verdict",
        NAMES.with_budget(timeouts=1),
        gap="ended-producer",
        violates="FencedByALaterOne",
    ),
    Model(
        "brokers that do not verify",
        replace(NETWORK, verified=False).with_budget(late=2, aborts=1),
        violates="NothingHangs",
    ),
)
"""What the program does not exclude, and what a setting of the brokers excludes for it."""

LARGE = (
    Model("network, two processes", replace(NETWORK, processes=2, at_work=False)),
    Model("network, two late requests", NETWORK.with_budget(late=2, aborts=1, timeouts=1)),
    Model("names, all faults", replace(NAMES, at_work=False).with_budget(late=1, crashes=1, aborts=1, timeouts=1)),
    Model("names, three processes", replace(NAMES, processes=3).with_budget(crashes=1, aborts=1)),
    Model("group, all faults", replace(GROUP, at_work=False).with_budget(moves=1, sessions=1, aborts=1)),
    Model("store, all faults", replace(STORE, at_work=False).with_budget(moves=1, sessions=1)),
    Model("store, one host", replace(STORE, hosts="OneHost").with_budget(moves=1, sessions=1)),
    Model("mixed, moves", MIXED.with_budget(moves=1, sessions=1)),
    Model("pipeline, an abort", PIPELINE.with_budget(aborts=1)),
    Model("every line is counted, names", NAMES.with_budget(crashes=1), live=True),
)


def chosen(*, large: bool, part: str) -> list[Model]:
    """Return the models of the small or the large bounds that have `part` in their names, mutants with the small."""
    return [model for model in (LARGE if large else (*SMALL, *MUTANTS, *SPARED, *GAPS)) if part in model.name]
