"""What is read of the records by which hosts tell of themselves."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from wcsup.config import Config
from wcsup.observe.hosts import Host, HostRun
from wcsup.state.directory import open_directory


class Record(Message):
    """A record as a consumer returns it."""

    def __init__(self, key: bytes | None, value: bytes | None) -> None:
        self._key, self._value = key, value

    def key(self, *_: Any) -> bytes | None:
        return self._key

    def value(self, *_: Any) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_764_547_200_000


def told(**changes: Any) -> bytes:
    whole = {"format": 1, "version": "0.1.0", "run": asdict(HostRun.own()), "ended": None, "state": {"ready": True}}
    return json.dumps({**whole, **changes}).encode()


def test_a_host_is_read_as_it_told() -> None:
    host = Host.read(Record(b"ab12", told()))
    assert host is not None
    assert (host.host, host.run, host.ended, host.state) == ("ab12", HostRun.own(), None, {"ready": True})
    assert host.to_json(silent=False)["ready"] is True
    assert host.told_at == "2025-12-01T00:00:00Z"


def test_of_a_silent_host_nothing_is_claimed_to_be_so_now() -> None:
    host = Host.read(Record(b"ab12", told()))
    assert host is not None
    assert host.to_json(silent=True)["ready"] is False


def test_the_state_of_a_newer_version_is_left_out() -> None:
    host = Host.read(Record(b"ab12", told(format=2, version="9.0", state={"all": "else"})))
    assert host is not None
    assert (host.version, host.state) == ("9.0", {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"ab12", None),
        (None, told()),
        (b"ab12", b"not JSON"),
        (b"ab12", b"[]"),
        (b"ab12", b"{}"),
        (b"\xff", told()),
        (b"ab12", told(run={"machine": "m"})),
    ],
)
def test_what_no_host_told_is_passed_over(key: bytes | None, value: bytes | None) -> None:
    assert Host.read(Record(key, value)) is None


def test_a_run_has_ended_where_its_process_is_known_to_be_gone() -> None:
    own = HostRun.own()
    assert not own.has_ended()
    assert replace(own, began=own.began - 60).has_ended(), "another process has the number"
    assert replace(own, pid=2**22 + 1).has_ended()
    assert not replace(own, kernel="of another machine", pid=2**22 + 1).has_ended(), "it may run there"
    assert not replace(own, kernel="", pid=2**22 + 1).has_ended()
    assert own.pid == os.getpid()


def test_a_renamed_state_directory_keeps_all_but_the_name(tmp_path: Path) -> None:
    app = Config(state_dir=tmp_path)
    before = open_directory(app)
    about = app.state / "application.json"
    known = json.loads(about.read_text())
    renamed = before.renamed()
    assert renamed.host != before.host
    assert open_directory(app) == renamed
    assert json.loads(about.read_text()) == {**known, "host": renamed.host}
