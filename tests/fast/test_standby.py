"""Which partitions a standby follows, by itself and together with those of other hosts."""

import time
from collections import Counter
from collections.abc import Mapping

import pytest

from wcsup.config import Config
from wcsup.kafka.sighting import Sight, Sighting
from wcsup.pipeline.standby import Follower

CONFIG = Config(app_id="my-reduce-app", partitions=12)
HOSTS = ("aaaa", "bbbb", "cccc-reduce-rs", "dddd")


def sight(owners: Mapping[str, set[int]]) -> Sight:
    seen = Sight()
    seen.see(Sighting(time.monotonic(), {}, owners={CONFIG.reduce_group: owners, CONFIG.map_group: {}}))
    return seen


def member(host: str, slot: int = 0) -> str:
    return f"{CONFIG.app_id}-{host}-reduce-{slot}-0b1c2d3e"


def shared(hosts: tuple[str, ...] = HOSTS) -> dict[str, set[int]]:
    """Return what hosts with two reducers each own, if the partitions are shared out evenly."""
    members = [member(host, slot) for host in hosts for slot in range(2)]
    return {one: set(range(number, CONFIG.partitions, len(members))) for number, one in enumerate(members)}


def followed(host: str, owners: Mapping[str, set[int]], copies: int) -> set[int]:
    found = Follower(CONFIG, sight(owners), host, copies).partitions()
    assert found is not None
    return found


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_each_partition_is_followed_by_so_many_other_hosts(copies: int) -> None:
    owners = shared()
    times = Counter(partition for host in HOSTS for partition in followed(host, owners, copies))
    assert times == dict.fromkeys(range(CONFIG.partitions), copies)
    for host in HOSTS:
        own = set().union(*(owners[member(host, slot)] for slot in range(2)))
        assert not followed(host, owners, copies) & own


def test_of_two_hosts_each_follows_all_of_the_other_one() -> None:
    owners = {member("aaaa"): {0, 1, 2}, member("bbbb"): {3, 4}}
    assert followed("aaaa", owners, 1) == {3, 4}
    assert followed("bbbb", owners, 1) == {0, 1, 2}


def test_a_host_without_reducers_follows_too() -> None:
    assert followed(HOSTS[2], {member("aaaa"): {0, 1, 2}}, 1) == {0, 1, 2}


def test_a_host_that_leaves_moves_only_what_it_followed() -> None:
    owners = {member("aaaa"): set(range(12)), member("bbbb"): set(), member(HOSTS[2]): set(), member("dddd"): set()}
    before = {host: followed(host, owners, 1) for host in HOSTS[1:]}
    del owners[member("dddd")]
    after = {host: followed(host, owners, 1) for host in HOSTS[1:3]}
    for host in HOSTS[1:3]:
        assert before[host] <= after[host]


def test_nothing_is_said_while_the_owners_are_not_known() -> None:
    assert Follower(CONFIG, Sight(), "aaaa", 1).partitions() is None
    assert Follower(CONFIG, sight({}), "aaaa", 1).partitions() is None
