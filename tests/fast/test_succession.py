"""How a worker follows its dead predecessor in a group of KIP-848, without a broker."""

import logging
from pathlib import Path
from typing import Literal
from unittest.mock import Mock as Fake

import pytest
from confluent_kafka import KafkaError, KafkaException

from wcsup.config import Config
from wcsup.pipeline import succession
from wcsup.pipeline.succession import Succession
from wcsup.state.directory import open_directory


class FakeBrokers:
    """Takes note of the members that leave; `fails` is the answer if it is an error."""

    def __init__(self) -> None:
        self.left: list[tuple[str, str]] = []
        self.fails: KafkaError | None = None

    def __call__(self, _config: Config, *, answer_seconds: float) -> "FakeBrokers":
        assert answer_seconds > 0
        return self

    def leave(self, group: str, member: str) -> None:
        self.left.append((group, member))
        if self.fails is not None:
            raise KafkaException(self.fails)

    def close(self) -> None: ...


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> FakeBrokers:
    made = FakeBrokers()
    monkeypatch.setattr(succession, "Brokers", made)
    return made


def started(state: Path, protocol: Literal["classic", "consumer"]) -> Succession:
    """What a process has that is started for slot map-0."""
    config = Config(bootstrap_servers="nowhere:1", state_dir=state, group_protocol=protocol)
    return Succession(config, Fake(), config.map_group, open_directory(config).claim("map", "0"))


def test_the_last_member_of_the_slot_leaves(tmp_path: Path, brokers: FakeBrokers) -> None:
    first = started(tmp_path, "consumer")
    first.relieve()
    assert brokers.left == [], "nobody was there before"
    first.record(lambda: "one")
    first.record(lambda: "two")

    started(tmp_path, "consumer").relieve()
    assert brokers.left == [("wcsup-map", "two")]


def test_static_members_need_it_not(tmp_path: Path, brokers: FakeBrokers) -> None:
    started(tmp_path, "consumer").record(lambda: "one")
    second = started(tmp_path, "classic")
    second.relieve()
    second.record(lambda: "a member that nobody asks for")
    assert brokers.left == []


@pytest.mark.parametrize(("code", "told"), [(KafkaError.UNKNOWN_MEMBER_ID, False), (KafkaError._TRANSPORT, True)])
def test_a_member_that_can_not_leave_is_left_to_its_session(
    tmp_path: Path, brokers: FakeBrokers, caplog: pytest.LogCaptureFixture, code: int, told: bool
) -> None:
    caplog.set_level(logging.INFO)
    started(tmp_path, "consumer").record(lambda: "one")
    brokers.fails = KafkaError(code)
    started(tmp_path, "consumer").relieve()
    assert ("stays until its session ends" in caplog.text) is told
