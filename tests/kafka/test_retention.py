"""How soon Kafka may delete lines that wait, on a real one: what is read, and where a person sees it."""

import signal
import time
from collections.abc import Iterator, Sequence

import pytest
from application import Application, wait_for
from confluent_kafka import Producer, TopicPartition
from shell import Shell
from website import Site

from wcsup.audit.checks import Check, Health
from wcsup.audit.doctor import Doctor
from wcsup.kafka import clients
from wcsup.kafka.retention import Uncounted

LONG = 40 * 60
"""Seconds of retention: little is left when half of that is."""


@pytest.fixture
def uncounted(application: Application) -> Iterator[Uncounted]:
    made = Uncounted(application.config, application.admin)
    yield made
    made.close()


def keep(application: Application, **more: str) -> None:
    settings = {"retention_ms": str(LONG * 1000), **more}
    application.configure("lines", {key.replace("_", "."): value for key, value in settings.items()})


def write(application: Application, partition: int, times: Sequence[int]) -> None:
    """Write a line for each time, in milliseconds since 1970."""
    producer = Producer({**clients.settings(application.config), "enable.idempotence": True})
    for made in times:
        producer.produce(application.config.topic("lines"), b"a line", partition=partition, timestamp=made)
    assert producer.flush(60) == 0


def ago(seconds: float) -> int:
    """Milliseconds since 1970 of a moment in the past."""
    return round((time.time() - seconds) * 1000)


def retention(application: Application) -> list[Check]:
    return [check for check in Doctor(application.config).examine() if check.name == "retention"]


class TestTheOldestUncountedLine:
    def test_is_the_one_at_the_groups_offset(self, application: Application, uncounted: Uncounted) -> None:
        keep(application)
        first, second, third = ago(600), ago(900), ago(300)
        write(application, 1, [first, second, third])
        write(application, 2, [third])
        write(application, 3, [first])

        for offset, made in enumerate((first, second, third)):
            found = uncounted.look({1: offset, 2: 0})
            assert found.deleted_at == {1: made / 1000 + LONG, 2: third / 1000 + LONG}
        assert uncounted.look({}).deleted_at == {}

    def test_is_the_first_that_is_left_where_kafka_deleted_some(
        self, application: Application, uncounted: Uncounted
    ) -> None:
        keep(application)
        first, second = ago(600), ago(300)
        write(application, 0, [first, second])
        for deletion in application.admin.delete_records(
            [TopicPartition(application.config.topic("lines"), 0, 1)]
        ).values():
            deletion.result()
        assert uncounted.look({0: 0}).deleted_at == {0: second / 1000 + LONG}

    def test_is_a_committed_one(self, application: Application, uncounted: Uncounted) -> None:
        keep(application)
        topic, made = application.config.topic("lines"), ago(300)
        stranger = clients.transactional_producer(application.config, "stranger")
        stranger.init_transactions()
        stranger.begin_transaction()
        for partition in (0, 1):
            stranger.produce(topic, b"taken back", partition=partition, timestamp=ago(900))
        stranger.flush()
        write(application, 0, [made])
        write(application, 2, [made])

        assert uncounted.look({0: 0, 1: 0, 2: 0}).deleted_at == {2: made / 1000 + LONG}, "it is not over"
        stranger.abort_transaction()
        wait_for("readers get past it", lambda: 0 in uncounted.look({0: 0}).deleted_at)
        assert uncounted.look({0: 0, 1: 0, 2: 0}).deleted_at == dict.fromkeys((0, 2), made / 1000 + LONG)

    def test_has_the_brokers_time_where_the_topic_says_so(self, application: Application, uncounted: Uncounted) -> None:
        keep(application, message_timestamp_type="LogAppendTime")
        before = ago(1) / 1000
        write(application, 0, [ago(900)])
        assert uncounted.look({0: 0}).deleted_at[0] >= before + LONG

    @pytest.mark.parametrize("settings", [{"retention_ms": "-1"}, {"retention_bytes": "100000000"}])
    def test_has_no_time_where_none_can_be_told(
        self, application: Application, uncounted: Uncounted, settings: dict[str, str]
    ) -> None:
        keep(application, **settings)
        write(application, 0, [ago(300)])
        assert uncounted.look({0: 0}).deleted_at == {}


class TestDoctor:
    def test_says_how_long_lines_are_kept_and_warns_in_time(self, application: Application) -> None:
        keep(application)
        [nothing] = retention(application)
        assert "kept for 40 min 0 s" in nothing.message and nothing.health is Health.OK

        write(application, 0, [ago(60)])
        enough, _ = retention(application)
        assert enough.health is Health.OK and "are kept for 3" in enough.message

        write(application, 1, [ago(LONG - 120)])
        little, _ = retention(application)
        assert little.health is Health.WARNING
        assert "partition 1: Kafka may delete lines in 1 min" in little.message
        assert "raise retention.ms" in little.message

    def test_tells_no_time_where_size_decides(self, application: Application) -> None:
        keep(application, retention_bytes="100000000")
        none, _ = retention(application)
        assert none.health is Health.OK and "none waits now" in none.message

        write(application, 0, [ago(60)])
        some, _ = retention(application)
        assert some.health is Health.WARNING
        assert "how soon can't be told" in some.message and "are kept for" not in some.message

    def test_warns_of_words_that_are_not_kept_until_they_are_counted(self, application: Application) -> None:
        application.configure("words", {"retention.ms": "3600000", "retention.bytes": "-1"})
        by_age, _ = retention(application)
        assert by_age.health is Health.WARNING and "kept for 1 h 0 min" in by_age.message
        assert "retention.ms=-1,retention.bytes=-1" in by_age.message

        application.configure("words", {"retention.ms": "-1", "retention.bytes": "1000000"})
        by_size, _ = retention(application)
        assert by_size.health is Health.WARNING and "less by size" in by_size.message


def test_a_run_says_in_time_that_lines_wait_which_kafka_may_delete(wcsup: Shell) -> None:
    # Given lines in partitions that a mapper has which stands still, of a retention that will be over soon
    application = wcsup.application
    application.make_topics()
    keep(application)
    still = application.start("map", "still", session_timeout=120.0)
    wait_for("it has all partitions", lambda: len(still.report.partitions) == 4)
    site = Site(wcsup, "--mappers 1 --reducers 1 --session-timeout 120")
    wait_for("half of the partitions are the run's", lambda: site.ready and len(still.report.partitions) == 2)
    theirs = set(still.report.partitions)
    still.signal(signal.SIGSTOP)
    for partition in range(4):
        write(application, partition, [ago(LONG - 600), ago(1)])

    # Then metrics and status have the time, of these partitions alone
    def times() -> dict[int, float]:
        found = site.metrics().items()
        return {int(name[-1]): value for name, value in found if name.startswith("wcsup_lines_retention_seconds")}

    wait_for("it is seen", lambda: set(times()) == theirs, 90)
    assert all(0 < left <= 600 for left in times().values())
    assert 0 < wcsup.status()["lines_retention_seconds"] <= 600
    assert "(Kafka may delete the first of them in " in wcsup("status").out

    # And the log says it once, with what to do
    log = (wcsup.place / "run.log").read_text()
    [warning] = [line for line in log.splitlines() if "Kafka may delete lines" in line]
    assert "WARNING" in warning.upper() and "add mappers" in warning

    # And it is over when they are counted
    still.signal(signal.SIGCONT)
    application.wait_counted()
    wait_for("nothing is shown", lambda: not times() and wcsup.status()["lines_retention_seconds"] is None)
    still.drain()


def test_status_says_it_where_nothing_runs(wcsup: Shell) -> None:
    wcsup.application.make_topics()
    keep(wcsup.application)
    assert wcsup.status()["lines_retention_seconds"] is None
    write(wcsup.application, 0, [ago(LONG - 600)])
    assert 0 < wcsup.status()["lines_retention_seconds"] <= 600
    wcsup.application.configure("lines", {"retention.bytes": "100000000"})
    assert wcsup.status()["lines_retention_seconds"] is None
