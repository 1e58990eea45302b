"""Which partitions a worker owns, and which are open, by callbacks and a clock of the test's own."""

import pytest
from confluent_kafka import KafkaError
from loop import Loop

from wcsup.errors import ConfigurationError, RefusedError, RetryError
from wcsup.pipeline.membership import ASK_AGAIN_SECONDS, SEEK_SECONDS
from wcsup.pipeline.patience import Doing

REFUSED = RefusedError("it may not be read", 0)


def test_assigned_partitions_are_paused_opened_sought_and_read() -> None:
    loop = Loop()
    loop.membership.join()
    loop.call("on_assign", 1, 3)
    assert loop.membership.owned == loop.membership.opening == {1, 3}
    assert loop.told == [("subscribe", "words"), ("assign_paused", {1, 3}), ("begin", 1), ("begin", 3)]
    loop.told.clear()

    loop.membership.open()

    assert loop.membership.opening == set()
    assert loop.told == [("seek", 1, 100), ("own", 1, 100), ("seek", 3, 100), ("own", 3, 100), ("resume", {1, 3})]
    loop.membership.raise_deferred()


def test_a_partition_that_refuses_to_be_sought_is_tried_again_but_not_for_ever() -> None:
    loop = Loop()
    loop.membership.join()
    loop.call("on_assign", 0)
    loop.reader.consumer.seek_fails = KafkaError(KafkaError._STATE)
    loop.membership.open()
    loop.clock.now += SEEK_SECONDS - 1
    loop.membership.open()
    assert loop.membership.opening == {0}
    assert loop.offsets.asked == 1

    loop.clock.now += 2
    with pytest.raises(RetryError, match=r"partition 0 of words refuses to seek"):
        loop.membership.open()


def test_a_seek_that_fails_for_another_reason_ends_it() -> None:
    loop = Loop()
    loop.membership.join()
    loop.call("on_assign", 0)
    loop.reader.consumer.seek_fails = KafkaError(KafkaError._UNKNOWN_PARTITION)
    with pytest.raises(RetryError, match="seek to 100 of"):
        loop.membership.open()


def test_offsets_that_are_refused_are_asked_for_again_after_a_while() -> None:
    loop = Loop()
    loop.membership.join()
    loop.call("on_assign", 0)
    loop.offsets.refused = REFUSED
    for _ in range(3):
        loop.membership.open()
    assert loop.offsets.asked == 1
    assert loop.patience.waits_for(Doing.OFFSETS)

    loop.offsets.refused = None
    loop.clock.now += ASK_AGAIN_SECONDS
    loop.membership.open()
    assert loop.membership.opening == set()
    assert not loop.patience.waiting


def test_what_was_refused_of_partitions_that_are_gone_is_waited_for_no_more() -> None:
    loop = Loop()
    loop.membership.join()
    loop.call("on_assign", 0)
    loop.offsets.refused = REFUSED
    loop.membership.open()
    loop.call("on_lost", 0)
    assert not loop.patience.waiting


def test_the_batch_is_settled_before_revoked_partitions_are_let_go() -> None:
    loop = Loop().joined(0, 1)
    loop.call("on_revoke", 1)
    assert loop.told == [("settle",), ("disown", 1), ("unassign", {1})]
    assert loop.membership.owned == {0}
    assert loop.membership.is_member


def test_the_batch_of_lost_partitions_is_dropped() -> None:
    loop = Loop().joined(0, 1)
    loop.call("on_lost", 0, 1)
    assert loop.told == [("clear",), ("disown", 0), ("disown", 1), ("unassign", {0, 1})]
    assert loop.membership.owned == set()
    assert not loop.membership.is_member
    assert loop.membership.has_joined


def test_what_a_callback_raises_is_kept_for_the_loop_and_partitions_are_let_go_all_the_same() -> None:
    loop = Loop().joined(0)
    loop.settle_fails = RetryError("the outcome is unknown")
    loop.call("on_revoke", 0)
    assert loop.told == [("settle",), ("disown", 0), ("unassign", {0})]
    with pytest.raises(RetryError, match="the outcome is unknown"):
        loop.membership.raise_deferred()
    # And nothing is committed any more.
    loop.told.clear()
    loop.call("on_revoke")
    assert ("settle",) not in loop.told


def test_more_partitions_than_the_application_has_are_a_clear_end() -> None:
    loop = Loop()
    loop.membership.join()
    loop.call("on_assign", 7)
    with pytest.raises(ConfigurationError, match="8 partitions"):
        loop.membership.raise_deferred()


def test_partitions_are_opened_anew_while_they_stay() -> None:
    loop = Loop().joined(0, 2)
    loop.membership.reopen()
    assert loop.told == [("disown again", 0), ("disown again", 2), ("pause", {0, 2}), ("begin", 0), ("begin", 2)]
    assert loop.membership.opening == {0, 2}
    assert loop.membership.is_member


@pytest.mark.parametrize(
    ("protocol", "seconds", "again"),
    [("classic", 0.0, True), ("classic", 2.1, False), ("consumer", 0.0, False)],
)
def test_a_new_member_that_was_given_nothing_joins_again_for_a_while(
    protocol: str, seconds: float, again: bool
) -> None:
    loop = Loop(group_protocol=protocol)
    loop.membership.join()
    loop.call("on_assign")
    loop.told.clear()
    loop.clock.now += seconds
    loop.call("on_assign")
    assert loop.told == ([("subscribe", "words")] if again else []) + [("assign_paused", set())]


@pytest.mark.parametrize(("protocol", "joins"), [("classic", True), ("consumer", False)])
def test_partitions_without_an_owner_have_it_join_anew(protocol: str, joins: bool) -> None:
    loop = Loop(group_protocol=protocol).joined(0)
    loop.orphans.found_are = frozenset({3})
    loop.membership.look()
    assert loop.told == ([("unsubscribe",), ("subscribe", "words")] if joins else [])


def test_a_fenced_member_is_followed_by_a_new_one() -> None:
    loop = Loop().joined(0)
    loop.reader.consumer.polled = [KafkaError(KafkaError.FENCED_INSTANCE_ID)]
    assert loop.membership.is_found_fenced(3.0)

    loop.membership.join_in_place()

    assert loop.told == [("close",), ("disown", 0), ("subscribe", "words")]
    assert len(loop.readers) == 2
    assert not loop.membership.is_fenced
    assert not loop.membership.is_member


def test_a_member_that_is_not_fenced_is_found_so_in_time() -> None:
    loop = Loop().joined(0)
    began = loop.clock.now
    assert not loop.membership.is_found_fenced(3.0)
    assert loop.clock.now - began == 3.0


def test_it_leaves_and_waits_until_the_broker_was_told() -> None:
    loop = Loop().joined(0)
    loop.reader.consumer.id = ""
    loop.membership.leave()
    assert loop.told == [("unsubscribe",), ("memberid",), ("close",)]


def test_it_does_not_wait_for_long_where_no_broker_can_be_told() -> None:
    loop = Loop().joined(0)
    began = loop.clock.now
    loop.membership.leave()
    assert loop.told[0] == ("unsubscribe",)
    assert ("close",) not in loop.told
    assert loop.clock.now - began == 2.0


@pytest.mark.parametrize(
    ("since", "due", "wakes"),
    # One is due every 0.2 s.
    [(0.05, 0.15, False), (0.25, 0.0, True), (None, 0.0, True)],
)
def test_a_heartbeat_that_is_due_is_sent(since: float | None, due: float, wakes: bool) -> None:
    loop = Loop().joined(0)
    loop.reader.inbox.since = since
    assert max(0.0, loop.membership.until_heartbeat()) == pytest.approx(due)
    loop.membership.wake()
    loop.membership.wake()  # not twice within a moment
    assert loop.told == [("memberid",)] * wakes
