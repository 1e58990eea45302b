"""Which records a total's commits counted: the runs into which the kept records fall."""

import pytest

from wcsup.audit.explain import Change, Given, matched


def given(*counts: int) -> list[Given]:
    return [Given(3, number, count, f"w{number}", None) for number, count in enumerate(counts, 10)]


def totals(*values: int) -> list[tuple[int, str, int]]:
    return [(offset, f"c{offset}", value) for offset, value in enumerate(values)]


def counted(changes: list[Change]) -> list[tuple[int | None, list[int] | None]]:
    """The change of each commit, and the offsets of its records."""
    return [
        (change.change, None if change.records is None else [one.offset for one in change.records])
        for change in changes
    ]


@pytest.mark.parametrize(
    ("values", "counts", "waiting", "wanted", "left"),
    [
        ([], [], range(1), [], 0),
        ([5], [], range(1), [(None, None)], 0),
        ([5, 7, 10], [], range(1), [(None, None), (2, None), (3, None)], 0),
        # Each run adds up to its change; what was counted before is gone.
        ([5, 7, 10], [1, 2], range(1), [(None, None), (2, None), (3, [10, 11])], 0),
        ([5, 7, 10], [2, 1, 2], range(1), [(None, None), (2, [10]), (3, [11, 12])], 0),
        # What the oldest total that is kept had counted can't be told.
        ([5, 7, 10], [4, 2, 3], range(1), [(None, None), (2, [11]), (3, [12])], 0),
        # Some are not counted yet, as the offsets say.
        ([5, 7, 10], [2, 3, 9], range(1, 2), [(None, None), (2, [10]), (3, [11])], 1),
        ([], [9], range(1, 2), [], 1),
        # The offsets moved meanwhile, and one way is left.
        ([5, 7, 10], [2, 3, 9], range(3), [(None, None), (2, [10]), (3, [11])], 1),
        # All counts are alike, so that it can't be told which ones are not counted yet.
        ([5, 6, 7], [1, 1, 1], range(2), [(None, None), (1, None), (1, None)], 0),
        ([5, 6, 7], [1, 1, 1], range(1, 2), [(None, None), (1, [10]), (1, [11])], 1),
        # A record that somebody else wrote, or a total that somebody set
        ([5, 7, 10], [7, 3], range(1), [(None, None), (2, None), (3, None)], 0),
    ],
)
def test_kept_records_fall_into_the_runs_of_the_last_commits(
    values: list[int],
    counts: list[int],
    waiting: range,
    wanted: list[tuple[int | None, list[int] | None]],
    left: int,
) -> None:
    changes, waits = matched(totals(*values), given(*counts), waiting)
    assert counted(changes) == wanted
    assert waits == given(*counts)[len(counts) - left :]


def test_a_change_tells_where_and_when() -> None:
    [_, change], _ = matched(totals(5, 7), given(2), range(1))
    assert change == Change(1, "c1", 7, 2, tuple(given(2)))
