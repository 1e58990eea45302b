"""How the most frequent words change, as `wcsup top --watch` shows it."""

import pytest

from wcsup.observe.changes import ORDER_SECONDS, Changes, Ranked


def test_rates_and_places_are_compared_with_those_of_a_moment_ago() -> None:
    changes = Changes()
    assert [one.rate for one in changes.take(10.0, [("a", 100), ("b", 50)])] == [None, None]
    assert changes.take(11.0, [("b", 150), ("a", 110), ("c", 7)]) == [
        Ranked(1, "b", 150, 100.0, 1),
        Ranked(2, "a", 110, 10.0, -1),
        Ranked(3, "c", 7, None, None),
    ]
    later = changes.take(11.0 + ORDER_SECONDS, [("b", 150), ("a", 110), ("c", 8)])
    assert [(one.word, one.moved) for one in later] == [("b", 0), ("a", 0), ("c", 0)]
    assert [round(one.rate or 0.0, 2) for one in later] == [0.0, 0.0, 0.1]


@pytest.mark.parametrize(("moved", "said"), [(None, "new"), (0, ""), (3, "up 3"), (-2, "down 2")])
def test_a_change_of_place_is_said_in_words(moved: int | None, said: str) -> None:
    assert Ranked(1, "a", 1, None, moved).change == said
