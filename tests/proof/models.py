"""What TLC checks of docs/protocol: bounds, within which all must hold, and mutants, each of which must fail."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

INVARIANTS = ("EachLineOnce", "TotalsRise", "StoreIsFold", "FencedByALaterOne", "NameIsNotLost", "NothingHangs")
LIVENESS = "EveryLineIsCounted"
FAULTS = ("late", "crashes", "aborts", "moves", "sessions", "timeouts", "expiries")
"""The kinds of faults that a budget may have: see `Faults` in Wcsup.tla."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Within what TLC looks at every behaviour; `about` says who is there."""

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
    start: str = "Spec"
    """The specification: it tells where behaviours begin."""
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
    """The invariant that TLC has to find violated; the only one that is checked then. None where all have to hold."""
    but: str | None = None
    """The invariant that is not checked, since a gap violates it."""
    producers: int = 6
    """How many producers a name has at most where an invariant is not checked: else there is no end to them."""
    live: bool = False
    """Whether it is checked that every line is counted in the end, and not the invariants."""
    slow: bool = False
    """Whether TLC takes more than ten seconds, so that `--quick` leaves it out."""


NETWORK = Bounds(
    "a mapper",
    lines=2,
    logs="TwoLines",
    start="OneAtWork",
    budget={"late": 1, "aborts": 1},
)
NAMES = Bounds(
    "a mapper and its successor, started at any moment",
    processes=2,
    start="OneAtWork",
    budget={"crashes": 1, "aborts": 1},
)
GROUP = Bounds(
    "two mappers",
    names='{"a", "b"}',
    processes=2,
    processes_of="Others",
    start="OneAtWork",
    budget={"sessions": 1},
)
EXPIRY = Bounds(
    "a mapper and its successor, with the topic positions",
    processes=2,
    positions=True,
    start="OneAtWork",
    budget={"crashes": 1, "sessions": 1, "expiries": 1},
)
STORE = Bounds(
    "two reducers on hosts of their own, with a store each",
    names='{"a", "b"}',
    processes=2,
    processes_of="Others",
    lines=2,
    stage="Reducer",
    logs="TwoWords",
    start="OneAtWork",
    budget={"sessions": 1},
)
REBIRTH = Bounds(
    "a reducer and its successor, with one store",
    processes=2,
    lines=2,
    stage="Reducer",
    logs="TwoWords",
    start="OneAtWork",
    budget={"crashes": 1},
)
MIXED = Bounds(
    "two reducers, a record with words of both partitions",
    names='{"a", "b"}',
    processes=2,
    processes_of="Others",
    partitions="{0, 1}",
    lines=2,
    stage="Reducer",
    logs="Mixed",
    home="OneEach",
    start="AllAtWork",
    budget={"sessions": 1},
)
MORE_MIXED = replace(MIXED, lines=3, logs="MixedAndOne", home="HomeOfThree")
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
    Model("expiry", EXPIRY, but="FencedByALaterOne", producers=3, slow=True),
    Model("store", replace(STORE, lines=1, logs="OneWord"), slow=True),
    Model("store, moves", replace(STORE, lines=1, logs="OneWord").with_budget(moves=1)),
    Model("rebirth", REBIRTH),
    Model("mixed", MORE_MIXED.with_budget()),
    Model("pipeline", PIPELINE),
    Model("every line is counted", NETWORK, live=True, slow=True),
)

MUTANTS = (
    Model("without renew-after-silence", NETWORK.with_budget(late=1), "renew-after-silence", violates="EachLineOnce"),
    Model("without renew-after-abort", NETWORK.with_budget(aborts=1), "renew-after-abort", violates="EachLineOnce"),
    Model("without empty-question", NETWORK.with_budget(late=1), "empty-question", violates="EachLineOnce"),
    Model("without question", NAMES.with_budget(aborts=1), "question", violates="FencedByALaterOne"),
    Model("without same-producer", NAMES.with_budget(timeouts=1), "same-producer", violates="FencedByALaterOne"),
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
    Model("without all-offsets", MORE_MIXED, "all-offsets", violates="EachLineOnce", slow=True),
    Model("without forward", MIXED, "forward", violates="EachLineOnce"),
    Model("without positions", EXPIRY, "positions", violates="EachLineOnce"),
    Model("without positions-end", EXPIRY, "positions-end", violates="EachLineOnce"),
)

SPARED = (Model("without own-marker", replace(STORE, lines=1, logs="OneWord"), "own-marker", slow=True),)
"""Guards without which all holds within these bounds: docs/proof.md says what each is for."""

GAPS = (
    Model(
        "two starts at one moment",
        NAMES.with_budget(aborts=1),
        gap="start-race",
        violates="FencedByALaterOne",
    ),
    Model("a successor loses its session", NAMES.with_budget(sessions=1), violates="FencedByALaterOne"),
    Model(
        "brokers that do not verify",
        replace(NETWORK, verified=False).with_budget(late=2, aborts=1),
        violates="NothingHangs",
    ),
)
"""What the program does not exclude, and what a setting of the brokers excludes for it."""

LARGE = (
    Model("two starts, all else", NAMES.with_budget(aborts=1), gap="start-race", but="FencedByALaterOne"),
    Model("a lost session, all else", NAMES.with_budget(sessions=1), but="FencedByALaterOne"),
    Model("network, two processes", replace(NETWORK, processes=2, start="Spec")),
    Model("network, two late requests", NETWORK.with_budget(late=2, aborts=1, timeouts=1)),
    Model("names, all faults", replace(NAMES, start="Spec").with_budget(late=1, crashes=1, aborts=1, timeouts=1)),
    Model("names, three processes", replace(NAMES, processes=3).with_budget(crashes=1, aborts=1)),
    Model("group, all faults", replace(GROUP, start="Spec").with_budget(moves=1, sessions=1, aborts=1)),
    Model("store, two words", STORE),
    Model("store, all faults", replace(STORE, start="Spec").with_budget(moves=1, sessions=1)),
    Model("store, one host", replace(STORE, hosts="OneHost").with_budget(moves=1, sessions=1)),
    Model("mixed, a move", MIXED.with_budget(moves=1)),
    Model("mixed, a session", MIXED),
    Model("pipeline, an abort", PIPELINE.with_budget(aborts=1)),
    Model("every line is counted, pipeline", PIPELINE.with_budget(aborts=1), live=True),
)


def chosen(*, large: bool, quick: bool, part: str) -> list[Model]:
    """Return the models of the small or the large bounds that have `part` in their names, mutants with the small."""
    found = LARGE if large else (*SMALL, *MUTANTS, *SPARED, *GAPS)
    return [model for model in found if part in model.name and not (quick and model.slow)]
