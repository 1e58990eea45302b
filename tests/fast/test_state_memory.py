"""How much memory totals may take: set, or a share of what the host or its container has."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from snapshots import snapshot, worker

from wcsup.audit import host
from wcsup.audit.checks import Check, Health
from wcsup.cli import status_text
from wcsup.config import Config
from wcsup.state.memory import host_memory, partition_memory, state_memory


def limited(path: Path, limit: str) -> Path:
    (path / "memory.max").write_text(limit)
    return path


def test_a_set_size_counts(tmp_path: Path) -> None:
    assert state_memory(Config(state_memory=1234), limited(tmp_path, "16\n")) == 1234


@pytest.mark.parametrize(
    ("limit", "wanted"), [("8000000\n", 1_000_000), ("max\n", None), ("99999999999999999\n", None)]
)
def test_without_one_it_is_a_share_of_what_there_is(tmp_path: Path, limit: str, wanted: int | None) -> None:
    whole = psutil.virtual_memory().total
    assert state_memory(Config(), limited(tmp_path, limit)) == (wanted or whole // 8)
    assert state_memory(Config(), tmp_path / "no cgroup") == whole // 8
    assert host_memory(tmp_path) == (8_000_000 if wanted else whole)


def test_each_partition_has_as_much() -> None:
    config = Config(state_memory=1_200_000, partitions=12)
    assert partition_memory(config) == 100_000


def check_of(config: Config) -> Check:
    [check] = [check for check in host.examine(config) if check.name == "state memory"]
    return check


def test_the_doctor_says_how_much_it_is(tmp_path: Path) -> None:
    config = Config(bootstrap_servers="h:1", state_dir=tmp_path, state_memory=2_000_000_000)
    assert "2.0 GB for totals, some 200 million words" in check_of(config).message
    assert check_of(config).health is Health.OK
    more = Config(bootstrap_servers="h:1", state_dir=tmp_path, state_memory=1 << 60)
    assert "choose a smaller --state-memory" in check_of(more).message
    assert check_of(more).health is Health.FAILED


def test_status_says_how_much_of_it_is_used() -> None:
    def text(*workers: Any) -> str:
        shown: dict[str, Any] = {**asdict(snapshot(*workers)), "lines_lag": 0, "words_lag": 0}
        return status_text.of_host(shown, Path())

    figures = {"distinct": 5000, "words_in_memory": 4000, "bytes_in_memory": 41_000_000, "state_memory": 3 * 10**9}
    said = text(worker("map"), worker("reduce", **figures), worker("reduce", 1, **figures))
    assert "totals in memory: 8,000 of 10,000 words, 82 MB of at most 6.0 GB\n" in said
    assert "totals in memory" not in text(worker("map"), worker("reduce"))
