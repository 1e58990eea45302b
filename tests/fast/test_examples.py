"""What the example of a database does where nothing else than its database is needed."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from examples.database.into_sqlite import Database


def totals(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT word, total FROM totals"))


def test_it_goes_on_from_the_offsets_in_the_database(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    database = Database(path)
    assert database.begin_with("first", [0, 1]) == {0: 0, 1: 0}
    database.write({b"whale": 3, b"sh\xffp": 1}, {0: (0, 7)})
    assert Database(path).begin_with("first", [0, 1, 2]) == {0: 7, 1: 0, 2: 0}
    assert totals(path) == {"whale": 3, "sh\\xffp": 1}


def test_a_topic_that_was_made_anew_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    Database(path).begin_with("first", [0])
    database = Database(path)
    database.write({b"whale": 3}, {0: (0, 7)})
    assert Database(path).begin_with("second", [0, 1]) == {0: 0, 1: 0}
    assert totals(path) == {}


def test_a_reader_that_is_behind_another_one_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    late, quick = Database(path), Database(path)
    late.begin_with("first", [0, 1])
    quick.begin_with("first", [0, 1])
    quick.write({b"whale": 5}, {0: (0, 9)})
    with pytest.raises(SystemExit, match="another reader"):
        late.write({b"whale": 3, b"ship": 1}, {1: (0, 4), 0: (0, 7)})
    assert totals(path) == {"whale": 5}
    assert Database(path).begin_with("first", [0, 1]) == {0: 9, 1: 0}
