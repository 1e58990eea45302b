"""What a lookout sees of an application on a real broker, by either way of asking, and where brokers are gone."""

import os
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from application import Application, have_partitions, wait_for
from cluster import Cluster
from fixtures import configuration

from wcsup.config import Config
from wcsup.kafka import lookout, topics
from wcsup.kafka.lookout import Lookout
from wcsup.kafka.requests import Brokers
from wcsup.kafka.sighting import Sight, Sighting


def owned(sight: Sight, group: str) -> list[list[int]]:
    return sorted(sorted(partitions) for partitions in newest(sight).owners.get(group, {}).values())


def newest(sight: Sight) -> Sighting:
    assert sight.newest is not None
    return sight.newest


@pytest.mark.filterwarnings("ignore:list_groups")  # the calls that are to replace it abort the process in an outage
@pytest.mark.parametrize("alone", [True, False], ids=["own-connections", "by-librdkafka"])
def test_topics_and_owners_are_seen(application: Application, alone: bool) -> None:
    config, sight = application.config, Sight()
    watching = Lookout(config, sight.see)
    watching._alone = alone
    with watching:
        # Topics as they are
        wait_for("something is seen", lambda: sight.newest)
        ids = topics.identity(application.admin, config).topics
        assert {name: one and one.id for name, one in newest(sight).topics.items()} == {
            config.topic(name): ids[name] for name in topics.NAMES
        }
        assert {one and one.partitions for one in newest(sight).topics.values()} == {4}
        assert owned(sight, config.map_group) == []

        # Who owns what
        workers = [application.start("map", "0"), application.start("map", "1"), application.start("reduce")]
        wait_for("all have partitions", lambda: have_partitions(workers))
        wait_for("mappers are seen", lambda: [len(one) for one in owned(sight, config.map_group)] == [2, 2])
        wait_for("the reducer is seen", lambda: owned(sight, config.reduce_group) == [[0, 1, 2, 3]])
        assert Sighting.from_json(newest(sight).to_json()) == newest(sight)

        # And a topic that is gone
        application.stop()
        name = config.topic("top")
        application.admin.delete_topics([name])[name].result()
        wait_for("it is seen to be gone", lambda: newest(sight).topics.get(name, "") is None)


def test_a_lookout_goes_on_with_the_brokers_that_are_left(cluster: Cluster, tmp_path: Path) -> None:
    config = configuration(cluster.address, tmp_path)
    application = Application(config)
    application.make_topics()
    sight = Sight()

    def seen_since(moment: float) -> bool:
        return newest(sight).asked > moment and len(newest(sight).topics) == len(topics.NAMES)

    # Given one that asks some broker, of which it knows this one alone
    with Lookout(replace(config, bootstrap_servers=cluster.nodes[1].address), sight.see):
        wait_for("something is seen", lambda: sight.newest)
        # When that one is killed, and another one stands still
        for end in (cluster.nodes[1].kill, cluster.nodes[2].stop):
            end()
            cluster.wait_live(2)
            now = time.monotonic()
            wait_for("it is seen what there is", partial(seen_since, now))
            cluster.heal()
    topics.delete(application.admin, config)


def test_a_week_of_looks_leaves_nothing_behind(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """In fast motion, and a two hundredth of it where `LOOKS` says nothing else: `make soak-lookout` has all of it.

    A hundred bytes a look would be 250 kB of 2,500, and 60 MB in a week.
    """
    count = int(os.environ.get("LOOKS", "2500"))
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0.0)
    sight, looks = Sight(), 0

    def see(sighting: Sighting) -> None:
        nonlocal looks
        looks += 1
        sight.see(sighting)

    def look(count: int) -> int:
        until = looks + count
        wait_for("it looks", lambda: looks >= until, 60 + count / 50)
        return psutil.Process().memory_info().rss

    with Lookout(application.config, see):
        before = look(1000)
        grown = look(count) - before
    print(f"{count} looks: {grown} bytes more")
    assert grown < 1 << 19


def test_nobody_is_a_member_of_a_group_that_does_not_exist(broker: str) -> None:
    with closing(Brokers(Config(bootstrap_servers=broker))) as brokers:
        assert brokers.members("nobody") == {}
        assert brokers.topics(["nothing"]) == ({"nothing": None}, [])
        assert brokers.addresses == [broker]
