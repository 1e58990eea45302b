"""Group offsets that Kafka forgot or somebody set, a second application, other partitions: exact, or refused."""

import json
from collections.abc import Collection, Mapping
from functools import partial

import pytest
from application import Application, WorkerProcess, prose, wait_for
from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import NewPartitions
from invariants import Witness, hold
from reference import recount
from shell import Shell

from wcsup.audit.positions import Positions
from wcsup.errors import ExitStatus
from wcsup.kafka import clients, groups, positions, topics

SHORT = 1.5
"""A session time-out in seconds that a test waits for."""


def counted(application: Application, lines: list[bytes]) -> list[WorkerProcess]:
    """Count lines with workers that are there at the end."""
    workers = [application.start(role, session_timeout=SHORT) for role in ("map", "reduce")]
    application.feed(lines)
    application.wait_counted()
    return workers


def is_empty(application: Application, group: str) -> bool:
    return groups.members(application.admin, group) == 0


def are_committed(application: Application, stage: str) -> bool:
    return min(offsets(application, stage).values()) >= 0


def is_ready(worker: WorkerProcess) -> bool:
    return worker.ready


def wait_empty(application: Application) -> None:
    """Wait until Kafka has noticed that the groups have no members."""
    config = application.config
    for group in (config.map_group, config.reduce_group):
        wait_for("the group is empty", partial(is_empty, application, group))


def forget(application: Application, but: Collection[int] = ()) -> None:
    """Have Kafka forget the groups' offsets, all `but` those of some partitions, as it does after a week's rest."""
    wait_empty(application)
    config = application.config
    kept = {
        stage: [
            one
            for one in groups.offsets(config, positions.group(config, stage), config.topic(stage), config.partitions)
            if one.partition in but and one.offset >= 0
        ]
        for stage in positions.STAGES
    }
    assert groups.delete(application.admin, config) == [config.map_group, config.reduce_group]
    for stage, offsets in kept.items():
        if offsets:
            set_offsets(application, stage, {one.partition: (one.offset, one.metadata or "") for one in offsets})


def set_offsets(application: Application, stage: str, offsets: Mapping[int, tuple[int, str]]) -> None:
    """Set a group's offsets, each with its metadata; kafka-consumer-groups.sh sets none."""
    config = application.config
    reader = clients.offsets_reader(config, positions.group(config, stage))
    wanted = [TopicPartition(config.topic(stage), p, offset, text) for p, (offset, text) in offsets.items()]
    reader.commit(offsets=wanted, asynchronous=False)


def offsets(application: Application, stage: str) -> dict[int, int]:
    config = application.config
    return groups.committed(config, positions.group(config, stage), config.topic(stage), config.partitions)


def forget_positions(application: Application) -> None:
    """Make it an application from before there were positions: the topic is gone, and metadata has no offset."""
    wait_empty(application)
    config, admin = application.config, application.admin
    topic = config.topic("positions")
    for stage in positions.STAGES:
        found = groups.offsets(config, positions.group(config, stage), config.topic(stage), config.partitions)
        before = {one.partition: (one.offset, json.loads(one.metadata or "{}")) for one in found if one.offset >= 0}
        for _, metadata in before.values():
            assert metadata.pop("offset") >= 0
        set_offsets(application, stage, {p: (offset, json.dumps(text)) for p, (offset, text) in before.items()})
    admin.delete_topics([topic])[topic].result()
    wait_for("it is gone", lambda: topic not in admin.list_topics(timeout=10).topics)


def warned(workers: Collection[WorkerProcess]) -> list[str]:
    return [line for worker in workers for line in worker.log if "Kafka has no offset of partition" in line]


@pytest.mark.parametrize("but", [(), (1, 3)], ids=["all", "some"])
@pytest.mark.parametrize("end", ["drained", "killed"])
def test_counting_goes_on_where_it_was_when_kafka_has_forgotten_it(
    application: Application, seed: int, end: str, but: tuple[int, ...]
) -> None:
    # Given an application that ended, and a rest after which Kafka has forgotten its groups' offsets
    lines = prose(3000, seed)
    with Witness(application):
        for worker in counted(application, lines[:2000]):
            if end == "killed":
                worker.kill()
            else:
                assert worker.drain() == ExitStatus.DONE
        forget(application, but)
        assert application.lag() == type(application.lag())(0, 0), "what is shown knows it, too"

        # When it is started without new lines: then the groups have their offsets again
        workers = [application.start(role, session_timeout=SHORT) for role in ("map", "reduce")]
        for stage in positions.STAGES:
            wait_for("offsets are committed", partial(are_committed, application, stage))
        assert len(warned(workers)) == 2 * (4 - len(but))

        # And it counts on, exactly
        application.feed(lines[2000:])
        application.wait_counted()
    hold(application, lines)


def test_what_was_not_counted_before_the_rest_is_counted_after_it(application: Application, seed: int) -> None:
    """Partitions that were never counted have no position, and begin at their start."""
    lines = prose(3000, seed)
    mapper, reducer = (application.start(role, session_timeout=SHORT) for role in ("map", "reduce"))
    application.write("lines", [(None, line) for line in lines[:1000]], partition=0)
    application.written.update(recount(lines[:1000]))
    application.wait_counted()
    mapper.kill()
    reducer.kill()
    forget(application)

    application.feed(lines[1000:])  # to all partitions
    application.start("map", session_timeout=SHORT)
    application.start("reduce", session_timeout=SHORT)
    hold(application, lines)


def test_a_rest_after_every_kind_of_death_in_a_commit(application: Application, seed: int) -> None:
    """The position is in the transaction: a worker that dies around its end leaves both or neither."""
    lines = prose(4000, seed)
    points = ["after-produce", "after-send-offsets", "after-commit"]
    for number, point in enumerate(points):
        start = 1000 * number
        application.feed(lines[start : start + 500])
        mapper = application.start("map", session_timeout=SHORT)
        reducer = application.start("reduce", session_timeout=SHORT, crash=point)
        assert reducer.wait() == -9
        mapper.kill()
        application.feed(lines[start + 500 : start + 1000])
        mapper = application.start("map", session_timeout=SHORT, crash=point)
        assert mapper.wait() == -9
        forget(application)
    application.feed(lines[3000:])
    application.start("map")
    application.start("reduce")
    hold(application, lines)


def test_an_application_from_before_goes_on_and_has_positions_then(application: Application, seed: int) -> None:
    # Given one that counted before there were positions
    lines = prose(3000, seed)
    for worker in counted(application, lines[:1000]):
        assert worker.drain() == ExitStatus.DONE
    forget_positions(application)

    # When it is started as wcsup run does, and counts nothing
    application.make_topics()
    for role in ("map", "reduce"):
        worker = application.start(role, session_timeout=SHORT)
        wait_for("it is ready", partial(is_ready, worker))
        worker.kill()

    # Then a rest does no harm any more
    forget(application)
    counted(application, lines[1000:])
    hold(application, lines)


def test_an_application_from_before_whose_offsets_are_gone_is_refused(wcsup: Shell, seed: int) -> None:
    # Given totals of which nobody knows up to where they are
    application = wcsup.application
    application.make_topics()
    lines = prose(2000, seed)
    for worker in counted(application, lines[:1000]):
        assert worker.drain() == ExitStatus.DONE
    mapped = offsets(application, "lines")
    forget_positions(application)
    forget(application)
    application.feed(lines[1000:])

    # When it is started, then it refuses before anything is committed, each time, and says what to do
    for _ in range(2):
        refused = wcsup("run --mappers 1 --reducers 1 --plain")
        assert refused.status == ExitStatus.CONFIGURATION, refused.err
        assert "nobody knows up to where they count" in refused.err
        assert "wcsup del" in refused.err and "wcsup positions --accept group" in refused.err
        assert set(offsets(application, "lines").values()) == {-1001}

    # And who knows the offsets of all partitions can have them taken
    set_offsets(application, "lines", {p: (offset, "") for p, offset in list(mapped.items())[:3]})
    refused = wcsup("positions --accept group")
    assert refused.status == ExitStatus.CONFIGURATION and "lines 3" in refused.err, refused.err
    set_offsets(application, "lines", {3: (mapped[3], "")})
    ends = topics.ends(application.admin, [TopicPartition(application.config.topic("words"), p) for p in range(4)])
    set_offsets(application, "words", {p: (end, "") for (_, p), end in ends.items()})
    assert wcsup("positions --accept group").status == ExitStatus.DONE
    running = wcsup.start("run --mappers 1 --reducers 1 --plain")
    wcsup.wait_ready()
    application.wait_counted()
    running.terminate()
    running.communicate(timeout=60)
    hold(application, lines)


@pytest.mark.parametrize("stage", positions.STAGES)
def test_offsets_that_somebody_set_are_refused_and_one_is_accepted(wcsup: Shell, seed: int, stage: str) -> None:
    # Given a group whose offset of one partition somebody set back
    application = wcsup.application
    application.make_topics()
    lines = prose(1000, seed)
    for worker in counted(application, lines):
        assert worker.drain() == ExitStatus.DONE
    wait_empty(application)
    right = offsets(application, stage)
    set_offsets(application, stage, {2: (1, "")})

    # When it is started, then it names both, and commits nothing
    refused = wcsup("run --mappers 1 --reducers 1 --plain")
    assert refused.status == ExitStatus.CONFIGURATION, refused.err
    said = f"{application.config.topic(stage)}, partition 2, was set to 1 by somebody else, and it is counted up to "
    assert f"{said}offset {right[2]}" in refused.err and "wcsup positions" in refused.err
    assert offsets(application, stage) == right | {2: 1}

    # A worker that meets it refuses, too: it may happen under a run
    worker = application.start("map" if stage == "lines" else "reduce", session_timeout=SHORT)
    assert worker.wait() == ExitStatus.CONFIGURATION
    assert said in worker.log[-1]

    # And the command shows both, and puts it right
    shown = wcsup("positions --json")
    assert shown.status == ExitStatus.CHECK_FAILED
    assert [one for one in json.loads(shown.out) if one["topic"] == stage and one["partition"] == 2] == [
        {"topic": stage, "partition": 2, "recorded": right[2], "group": 1, "records": True}
    ]
    assert "set by somebody else" in wcsup("positions").out
    wait_empty(application)
    assert wcsup("positions --accept recorded").status == ExitStatus.DONE
    assert offsets(application, stage) == right
    more = prose(200, seed + 1)
    counted(application, more)
    hold(application, lines + more)


def test_offsets_that_were_set_on_purpose_are_accepted(wcsup: Shell, seed: int) -> None:
    """Lines below a higher one are left out, those above a lower one are counted again, as somebody wants it."""
    application = wcsup.application
    application.make_topics()
    lines = prose(400, seed)
    for worker in counted(application, lines[:200]):
        assert worker.drain() == ExitStatus.DONE
    wait_empty(application)
    application.feed(lines[200:])
    set_offsets(application, "lines", {0: (40, ""), 1: (60, "")})

    assert wcsup("positions --accept group").status == ExitStatus.DONE
    forget(application)  # they are recorded, too

    workers = counted(application, [])
    again = [line for n, line in enumerate(lines[:200]) if n % 4 == 0 and n // 4 >= 40]
    left_out = [line for n, line in enumerate(lines[200:]) if n % 4 == 1 and n // 4 < 10]
    application.written.update(recount(again))
    application.written.subtract(recount(left_out))
    assert application.counts() == +application.written
    assert not [line for worker in workers for line in worker.log if "refused" in line]


def test_positions_are_refused_a_change_while_workers_run(wcsup: Shell, seed: int) -> None:
    application = wcsup.application
    application.make_topics()
    counted(application, prose(100, seed))
    refused = wcsup("positions --accept recorded")
    assert refused.status == ExitStatus.CONFIGURATION
    assert "workers are in group" in refused.err


def test_topics_belong_to_one_application(wcsup: Shell, seed: int) -> None:
    # Given an application that has counted
    application = wcsup.application
    application.make_topics()
    lines = prose(200, seed)
    for worker in counted(application, lines):
        assert worker.drain() == ExitStatus.DONE
    owner = application.config.app_id
    text = wcsup.file("text", b"the the\n")

    # Then another one is refused by whatever would write, and changes nothing
    for command in ("run --plain", "map 0", "reduce 0", f"gen {text}", "del", "del --force", "positions"):
        refused = wcsup(f"{command} --app-id other --state-dir other-state")
        assert refused.status == ExitStatus.CONFIGURATION, (command, refused.err)
        assert f"belong to application {owner}, and this is other" in refused.err, command
        assert f"--app-id {owner}" in refused.err
    assert len(list(application.read("lines"))) == len(lines)
    doctor = wcsup("doctor --app-id other")
    assert doctor.status == ExitStatus.CHECK_FAILED
    assert f"belong to application {owner}" in doctor.out
    assert f"the topics belong to {owner}, which counts in 4 partitions" in wcsup("doctor").out
    hold(application, lines)

    # And its own `del` lets go of them
    assert wcsup("del").status == ExitStatus.DONE
    assert wcsup(f"gen {text} --app-id other").status == ExitStatus.DONE


def test_two_applications_that_claim_the_same_topics_at_once(wcsup: Shell) -> None:
    text = wcsup.file("text", b"one line\n")
    started = {name: wcsup.start(f"gen {text} --app-id {name}") for name in ("first", "second", "third")}
    ends = {name: process.communicate(timeout=60)[1].decode() for name, process in started.items()}
    winners = [name for name, process in started.items() if process.returncode == ExitStatus.DONE]
    assert len(winners) == 1, ends
    for name, process in started.items():
        if name not in winners:
            assert process.returncode == ExitStatus.CONFIGURATION, ends[name]
            assert f"belong to application {winners[0]}" in ends[name]
    assert len(wcsup.lines()) == 1


def test_another_number_of_partitions_is_refused(wcsup: Shell, seed: int) -> None:
    # Given totals in four partitions, and topics that were all given eight
    application = wcsup.application
    application.make_topics()
    lines = prose(1000, seed)
    for worker in counted(application, lines):
        assert worker.drain() == ExitStatus.DONE
    more = [NewPartitions(application.config.topic(name), 8) for name in topics.NAMES]
    for future in application.admin.create_partitions(more).values():
        future.result()

    # When it is started with eight, then it refuses and says what is right
    refused = wcsup("run --mappers 1 --reducers 1 --plain --partitions 8")
    assert refused.status == ExitStatus.CONFIGURATION, refused.err
    assert "counts in 4 partitions and was started with --partitions 8" in refused.err
    assert "Use --partitions 4, or change the number with wcsup repartition 8" in refused.err
    assert application.counts() == recount(lines)


def test_totals_of_another_number_of_partitions_are_found_without_a_record(wcsup: Shell, seed: int) -> None:
    """An application from before may have been given more partitions."""
    application = wcsup.application
    application.make_topics()
    for worker in counted(application, prose(1000, seed)):
        assert worker.drain() == ExitStatus.DONE
    forget_positions(application)
    there = application.admin.list_topics(timeout=10).topics
    more = [NewPartitions(topic, 8) for topic in map(application.config.topic, topics.NAMES) if topic in there]
    for future in application.admin.create_partitions(more).values():
        future.result()

    refused = wcsup("run --mappers 1 --reducers 1 --plain --partitions 8")
    assert refused.status == ExitStatus.CONFIGURATION, refused.err
    assert "it was counted in another number of partitions" in refused.err


@pytest.mark.parametrize("name", ["lines", "words"])
def test_an_input_with_more_partitions_is_made_again_as_advised(wcsup: Shell, seed: int, name: str) -> None:
    # Given an input that was given more partitions when all of it was counted
    application = wcsup.application
    application.make_topics()
    lines = prose(2000, seed)
    for worker in counted(application, lines[:1000]):
        assert worker.drain() == ExitStatus.DONE
    topic = application.config.topic(name)
    application.admin.create_partitions([NewPartitions(topic, 6)])[topic].result()
    refused = wcsup("run --mappers 1 --reducers 1 --plain")
    assert refused.status == ExitStatus.CONFIGURATION
    assert f"kafka-topics.sh --delete --topic {topic}" in refused.err

    # When the advice is followed
    application.admin.delete_topics([topic])[topic].result()
    wait_for("it is gone", lambda: topic not in application.admin.list_topics(timeout=10).topics)
    running = wcsup.start("run --mappers 1 --reducers 1 --plain")
    wcsup.wait_ready()
    application.feed(lines[1000:])
    wait_for("all is counted", lambda: application.counts() == recount(lines))
    running.terminate()
    running.communicate(timeout=60)
    hold(application, lines)


def test_words_are_kept_until_they_are_counted(wcsup: Shell, seed: int) -> None:
    # Given a topic `words` that would lose records by age and by size
    application = wcsup.application
    application.make_topics()
    made = topics.configs(application.admin, application.config, ["words"])["words"]
    assert (made["retention.ms"], made["retention.bytes"], made["cleanup.policy"]) == ("-1", "-1", "delete")
    application.configure("words", {"retention.ms": "1000", "retention.bytes": "1000"})

    # When a run starts, then it is repaired and said
    running = wcsup.start("run --mappers 1 --reducers 1 --plain")
    wcsup.wait_ready()
    assert topics.KEPT.items() <= topics.configs(application.admin, application.config, ["words"])["words"].items()
    lines = prose(1000, seed)
    application.feed(lines)
    application.wait_counted()
    running.terminate()
    _, err = running.communicate(timeout=60)
    assert "retention.ms=1000, retention.bytes=1000: it now keeps records until they are counted" in err.decode()

    # And what was counted is deleted
    everywhere = [TopicPartition(application.config.topic("words"), p) for p in range(4)]
    starts = topics.starts(application.admin, everywhere)
    assert {p: start for (_, p), start in starts.items()} == offsets(application, "words")
    assert any(starts.values())
    hold(application, lines)


def test_words_are_trimmed_while_a_reducer_works(application: Application, seed: int) -> None:
    """Only what is counted: a reducer without its offsets committed has all of its input."""
    lines = prose(4000, seed)
    _, reducer = counted(application, lines[:2000])
    topic = application.config.topic("words")
    everywhere = [TopicPartition(topic, p) for p in range(4)]
    wait_for("words are trimmed", lambda: all(topics.starts(application.admin, everywhere).values()))
    reducer.signal(19)  # SIGSTOP
    before = topics.starts(application.admin, everywhere)
    application.feed(lines[2000:])
    wait_for("all lines are mapped", lambda: application.lag().lines == 0)
    assert topics.starts(application.admin, everywhere) == before
    reducer.kill()
    application.start("reduce")
    hold(application, lines)


def test_positions_stay_few_records(application: Application, seed: int) -> None:
    """The cleaner keeps one record of a key: a start that needs the topic reads it in a moment."""
    application.configure("positions", {"segment.ms": "200", "min.cleanable.dirty.ratio": "0.01"})
    application.start("map")
    application.start("reduce")
    written = 0

    def compacted() -> bool:
        nonlocal written
        application.feed(prose(4, seed + written))
        application.wait_counted()
        written += 1
        return written > 10 and len(list(application.read("positions"))) < 8 * written

    wait_for("positions are compacted", compacted)
    said = positions.recorded(application.config, application.admin)
    ids = topics.identity(application.admin, application.config).topics
    for stage in positions.STAGES:
        found = {p: said.offset(stage, p, ids[stage]) for p in range(4)}
        assert found == {p: max(0, offset) for p, offset in offsets(application, stage).items()}
    assert [place.differs for place in Positions(application.config).places()] == [False] * 8
