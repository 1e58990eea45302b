"""Whose state directory it is: one application's, and one host's."""

from dataclasses import replace
from pathlib import Path

import pytest

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.state.directory import open_directory


def test_a_host_has_the_name_that_it_was_given_or_one_that_nobody_else_has(tmp_path: Path) -> None:
    named = Config(app_id="books", state_dir=tmp_path / "a", host="wcsup-0")
    assert open_directory(named).host == "wcsup-0"
    assert open_directory(named).name(named, "map", "3") == "books-wcsup-0-map-3"
    others = {open_directory(Config(state_dir=tmp_path / place)).host for place in "bcd"}
    assert len(others) == 3


def test_a_directory_keeps_its_hosts_name(tmp_path: Path) -> None:
    named = Config(state_dir=tmp_path, host="wcsup-0")
    open_directory(named)

    assert open_directory(replace(named, host=None)).host == "wcsup-0"
    # Such as a volume that was copied to another host
    with pytest.raises(ConfigurationError, match="belongs to host 'wcsup-0', not 'wcsup-1'"):
        open_directory(replace(named, host="wcsup-1"))
