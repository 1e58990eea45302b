"""The specification, its mutants and docs/proof.md name the same guards, invariants and models."""

import re
from pathlib import Path

from proof.check import configuration, read, verdict
from proof.models import GAPS, INVARIANTS, LARGE, LIVENESS, MUTANTS, SMALL, SPARED, Model

DOCS = Path(__file__).parents[2] / "docs"
WCSUP = (DOCS / "protocol" / "Wcsup.tla").read_text()
BOUNDS = (DOCS / "protocol" / "Bounds.tla").read_text()
PAGE = (DOCS / "proof.md").read_text()
ALL = [*SMALL, *MUTANTS, *SPARED, *GAPS, *LARGE]

VIOLATED = """\
Error: Invariant EachLineOnce is violated.
Error: The behavior up to this point is:
State 1: <Initial predicate>
/\\ left = 1

State 2: <Commit line 1, col 1 to line 2, col 2 of module Wcsup>
/\\ left = 0

1,234 states generated, 567 distinct states found, 8 states left on queue.
The depth of the complete state graph search is 9.
"""
COMPLETE = """\
Model checking completed. No error has been found.
1,234 states generated, 567 distinct states found, 0 states left on queue.
The depth of the complete state graph search is 9.
"""
UNFAIR = "Error: Temporal properties were violated.\nState 7: <Lose line 1, col 1 to line 2, col 2 of module Wcsup>\n"


def test_each_guard_of_the_specification_has_a_mutant_and_a_row_of_the_page() -> None:
    guards = set(re.findall(r'Guard\("([\w-]+)"\)', WCSUP))
    mutants = [model.removed for model in (*MUTANTS, *SPARED) if model.removed]
    assert sorted(guards) == sorted(set(mutants))
    assert len(mutants) == len(set(mutants))
    for guard in guards:
        assert f"`{guard}`" in PAGE, guard


def test_each_gap_of_the_specification_is_shown() -> None:
    gaps = set(re.findall(r'"([\w-]+)" \\in Gaps', WCSUP))
    assert gaps == {model.gap for model in GAPS if model.gap}


def test_each_mutant_violates_an_invariant_that_the_page_tells_of() -> None:
    for model in (*MUTANTS, *GAPS):
        assert model.violates in INVARIANTS or model.but in INVARIANTS, model.name
    for name in (*INVARIANTS, LIVENESS):
        assert f"\n{name} ==" in WCSUP, name
        assert f"`{name}`" in PAGE, name


def test_each_model_has_its_figures_on_the_page() -> None:
    assert len({model.name for model in ALL}) == len(ALL)
    for model in ALL:
        assert re.search(rf"^\| {re.escape(model.name)} \| .+ \|$", PAGE, re.MULTILINE), model.name


def test_what_a_configuration_chooses_is_defined() -> None:
    for model in ALL:
        for name in re.findall(r"<- (\w+)", configuration(model)[1]):
            assert name == "FaultsOfThis" or f"\n{name} ==" in BOUNDS, (model.name, name)


def test_a_mutant_has_to_fall_for_its_own_invariant() -> None:
    mutant = Model("without", MUTANTS[0].bounds, "generation", violates="EachLineOnce")
    right, words = verdict(mutant, read(VIOLATED, 1.0))
    assert right
    assert words == "EachLineOnce violated in 2 steps, by Commit"
    assert read(VIOLATED, 1.0).states == 567
    assert not verdict(Model("without", mutant.bounds, "generation", violates="TotalsRise"), read(VIOLATED, 1.0))[0]
    assert verdict(mutant, read(COMPLETE, 1.0)) == (False, "SURVIVES")


def test_a_model_has_to_hold() -> None:
    model = Model("all", SMALL[0].bounds)
    assert verdict(model, read(COMPLETE, 1.0)) == (True, "holds")
    assert not verdict(model, read(VIOLATED, 1.0))[0]
    assert read(UNFAIR, 1.0).violated == LIVENESS
