"""Which librdkafka is taken, and what is said of one that is not."""

from collections.abc import Callable, Iterator

import confluent_kafka
import pytest

from wcsup import _core
from wcsup.errors import ConfigurationError
from wcsup.kafka import libraries

PLUGIN = _core.plugin


def lacking() -> str:
    raise OSError("undefined symbol: rd_kafka_new")


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    libraries.plugin.cache_clear()
    yield
    libraries.plugin.cache_clear()


def test_the_installed_one_is_one_that_was_tested() -> None:
    assert libraries.plugin() == PLUGIN()
    assert libraries.told().startswith(f"librdkafka {confluent_kafka.libversion()[0]} with ")


@pytest.mark.parametrize(
    ("version", "plugin", "says"),
    [
        ("2.17.0", PLUGIN, "librdkafka 2.17.0, of confluent-kafka .*, is not one that wcsup was tested with"),
        ("2.9.1-RC1", PLUGIN, "is not one that wcsup was tested with"),
        ("2.16.3", lacking, "lacks a function that wcsup calls .undefined symbol: rd_kafka_new"),
    ],
)
def test_another_one_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, version: str, plugin: Callable[[], str], says: str
) -> None:
    monkeypatch.setattr(confluent_kafka, "libversion", lambda: (version, 0))
    monkeypatch.setattr(_core, "plugin", plugin)
    with pytest.raises(ConfigurationError, match=says) as refused:
        libraries.plugin()
    assert "pip install 'confluent-kafka==2.16.*'" in str(refused.value)


def test_records_are_of_partitions() -> None:
    assert len(_core.Records([(0, b"", b"")])) == 1
    with pytest.raises(ValueError, match="there is no partition -1"):
        _core.Records([(-1, b"word", b"1")])
