"""Backups on the disk: what is written is read, and what was changed since is refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from totals import eight, totals

from wcsup.errors import ConfigurationError
from wcsup.kafka.moving import CountedLines, Move
from wcsup.moving import backup, cut
from wcsup.moving.backup import Backup, Manifest
from wcsup.moving.cut import Cut, Pair, parts

WORDS = {b"ship": 3, b"whale": 1 << 62, b"": 1, b"x" * 300: 2}
LINES = CountedLines("lines-id", {0: 7, 11: 3, 2: 0})


class FixedCut(Cut):
    """A cut without a cluster: these totals."""

    def __init__(self, words: dict[bytes, int]) -> None:
        self.words, self.lines = "ascii", LINES
        self.distinct = self.total = 0
        self._given = words

    def totals(self) -> Iterator[list[Pair]]:
        for word, total in self._given.items():
            self.distinct += 1
            self.total += total
            yield [(word, eight(total))]


def write(path: Path, words: dict[bytes, int] = WORDS) -> Manifest:
    return backup.write(FixedCut(words), path, app_id="books", topic_prefix="b.", partitions=12, cluster="here")


def read(path: Path) -> dict[bytes, int]:
    found = Backup(path)
    found.check()
    return {word: int.from_bytes(total, "big", signed=True) for pairs in found.totals() for word, total in pairs}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest = write(tmp_path / "new" / "bk")
    found = Backup(tmp_path / "new" / "bk")
    assert found.manifest == manifest
    assert (manifest.lines, manifest.distinct, manifest.total) == (LINES, 4, sum(WORDS.values()))
    assert read(tmp_path / "new" / "bk") == WORDS
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bk"]


@settings(deadline=None, max_examples=25)  # each one waits for the disk
@given(
    words=st.dictionaries(st.binary(max_size=40), st.integers(0, (1 << 63) - 1), max_size=40), part=st.integers(1, 99)
)
def test_any_words_come_back_however_they_are_read(
    tmp_path_factory: pytest.TempPathFactory, words: dict[bytes, int], part: int
) -> None:
    path = tmp_path_factory.mktemp("backups") / "bk"
    write(path, words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "_READ_BYTES", part)
        assert read(path) == words


def damage_total(path: Path) -> None:
    data = bytearray((path / "totals").read_bytes())
    data[-1] ^= 1
    (path / "totals").write_bytes(data)


def cut_total(path: Path) -> None:
    os.truncate(path / "totals", 20)


def lose_total(path: Path) -> None:
    (path / "totals").unlink()


def change_manifest(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"0": 7', '"0": 8'))


def break_manifest(path: Path) -> None:
    os.truncate(path / "manifest.json", 100)


def age_manifest(path: Path) -> None:
    values = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**values, "format": 2, "wcsup": "9.1"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damage_total, "totals is damaged: its checksum does not fit"),
        (cut_total, "totals is damaged: its checksum does not fit"),
        (lose_total, "totals is damaged: .*No such file"),
        (change_manifest, r"manifest.json is damaged: its checksum does not fit"),
        (break_manifest, "manifest.json is damaged: JSONDecodeError"),
        (age_manifest, "has format 2 of wcsup 9.1, and this one reads 1: use that version"),
    ],
)
def test_a_backup_that_was_changed_is_refused(tmp_path: Path, change: Callable[[Path], None], said: str) -> None:
    write(tmp_path / "bk")
    change(tmp_path / "bk")
    with pytest.raises(ConfigurationError, match=said):
        read(tmp_path / "bk")


def test_a_directory_that_is_no_backup_or_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"is no backup: it has no manifest\.json"):
        Backup(tmp_path)
    with pytest.raises(ConfigurationError, match="is not empty: name a new directory"):
        write(tmp_path)
    with pytest.raises(ConfigurationError, match="can't be written: Not a directory"):
        write(tmp_path / "file" / "bk")


WRITING = """
from pathlib import Path
import sys
sys.path.insert(0, sys.argv[2])
from test_backup import write
write(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_an_interrupted_backup_leaves_no_half(tmp_path: Path, how: signal.Signals) -> None:
    # Given a process that dies, or stands still, before the backup has its name
    crash = "backup-written" if how is signal.SIGKILL else "stop:backup-written"
    places = [str(tmp_path / "bk"), str(Path(__file__).parent)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    environment = {**os.environ, "WCSUP_CRASH": crash, "PYTHONPATH": path}
    process = subprocess.Popen([sys.executable, "-c", WRITING, *places], env=environment)
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WTERMSIG(status) == how if how is signal.SIGKILL else os.WSTOPSIG(status) == how
        with pytest.raises(ConfigurationError, match="is no backup"):
            Backup(tmp_path / "bk")

        # Then the next one is whole, once the other process is gone
        if how is signal.SIGSTOP:
            with pytest.raises(ConfigurationError, match="another process writes the backup"):
                write(tmp_path / "bk")
            process.kill()
            process.wait()
        write(tmp_path / "bk", {b"new": 1})
        assert read(tmp_path / "bk") == {b"new": 1}
        assert [path.name for path in tmp_path.iterdir()] == ["bk"]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 4_500])
def test_totals_are_handed_on_in_parts(count: int) -> None:
    words = {b"%06d" % number: number + 1 for number in range(count)}
    found = list(parts(totals(words)))
    assert dict(pair for pairs in found for pair in pairs) == {word: eight(total) for word, total in words.items()}
    assert all(0 < len(pairs) <= 1000 for pairs in found)


def test_a_total_that_does_not_fit_is_refused() -> None:
    most = (1 << 63) - 1
    assert cut.added(b"ship", eight(most - 2), 2) == eight(most)
    with pytest.raises(ConfigurationError, match="the total of b'ship' does not fit 8 bytes"):
        cut.added(b"ship", eight(most - 2), 3)


def test_the_record_of_a_move_is_read_as_it_was_written() -> None:
    move = Move("books", 24, None, "unicode", distinct=3, total=9, lines=LINES, copied=True)
    partition, _, value = move.entry
    assert partition == 24
    assert Move.from_json(value) == move
    assert (LINES.at(0, "lines-id"), LINES.at(1, "lines-id"), LINES.at(0, "another")) == (7, 0, 0)
    newer = json.dumps({**json.loads(value), "format": 2}).encode()
    with pytest.raises(ConfigurationError, match="by another version of wcsup"):
        Move.from_json(newer)
