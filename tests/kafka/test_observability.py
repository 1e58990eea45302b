"""`wcsup run --http` with real workers on a real Kafka: health, and metrics that agree with an independent recount."""

import os
import re
import signal
import time

from application import WAIT_SECONDS, prose, wait_for
from reference import recount
from shell import Shell
from website import Site

from wcsup import _core


def test_metrics_agree_with_a_recount_and_outlive_workers(wcsup: Shell) -> None:
    # Given lines of all kinds, some of which can't be counted
    plain = prose(5000, seed=8)
    lines = [*plain, b"x" * (_core.MAX_WORD_BYTES + 1), None, None]
    expected = recount(plain)
    wcsup.application.make_topics()
    wcsup.application.feed(lines)

    # When a run counts them
    site = Site(wcsup, "--mappers 2 --reducers 1")
    assert site.get("/livez")[0] == 200
    wait_for("it is ready", lambda: site.ready)
    wait_for(
        "all is counted",
        lambda: (
            (found := site.metrics()).get("wcsup_words_total") == expected.total()
            # Workers report on their own and some time after a commit; the lag is Kafka's.
            and found["wcsup_lines_total"] == len(lines)
            and found["wcsup_counted_words"] == expected.total()
            # Not there as long as the supervisor does not know it, such as between two of its questions to Kafka.
            and found.get("wcsup_oldest_uncounted_seconds") == 0
            # Resources are looked at now and then, first when a process has only just been made.
            and all(seconds > 0 for name, seconds in found.items() if name.startswith("wcsup_worker_cpu_seconds"))
            and all(threads > 1 for name, threads in found.items() if name.startswith("wcsup_worker_threads"))
            and sum(left for name, left in found.items() if name.startswith("wcsup_lag_records")) == 0
        ),
    )

    # Then each figure is right
    found = site.metrics()
    lag = [name for name in found if name.startswith("wcsup_lag_records")]
    assert len(lag) == 2 * wcsup.config.partitions
    assert found["wcsup_lines_total"] == len(lines)
    assert found["wcsup_null_lines_total"] == 2
    assert found["wcsup_dead_letters_total role=map"] == 1
    assert found["wcsup_distinct_words"] == len(expected)
    assert found["wcsup_counted_words"] == found["wcsup_line_to_total_seconds_count"] == expected.total()
    assert found["wcsup_input_bytes_total role=map"] == sum(len(line) for line in lines if line)
    for role in ("map", "reduce"):
        commits = found[f"wcsup_commits_total role={role}"]
        assert commits == found[f"wcsup_batch_records_count role={role}"] > 0
        assert commits == found[f"wcsup_commit_duration_seconds_count role={role}"]
        assert found[f"wcsup_batch_records_sum role={role}"] == found[f"wcsup_input_records_total role={role}"]
        # A second member that joins in the middle of a commit has its offsets refused: some steps are done twice then.
        aborts = sum(
            count for name, count in found.items() if name.startswith("wcsup_aborts_total") and f"role={role}" in name
        )
        for step in ("produce", "offsets", "commit", "store"):
            done = found[f"wcsup_commit_step_duration_seconds_count role={role} step={step}"]
            assert commits <= done <= commits + (aborts if step in {"produce", "offsets"} else 0)
    for slot in ("role=map slot=map-0", "role=map slot=map-1", "role=reduce slot=reduce-0"):
        assert found[f"wcsup_worker_ready {slot}"] == 1
        assert found[f"wcsup_worker_state {slot} state=running"] == 1
        assert found[f"wcsup_worker_resident_memory_bytes {slot}"] > 1 << 20
        assert found[f"wcsup_worker_cpu_seconds_total {slot}"] > 0
        assert found[f"wcsup_worker_threads {slot}"] > 1
        assert found[f"wcsup_worker_open_fds {slot}"] > 5
    assert found["process_resident_memory_bytes"] > 10 << 20

    # And none falls where workers die
    wait_for("a spare is there", lambda: site.status()["spares"])
    before = site.status()
    for spare in before["spares"]:
        os.kill(spare, signal.SIGSTOP)  # or reduce-0 may be back before anybody looked
    os.kill(next(worker["pid"] for worker in before["workers"] if worker["slot"] == "reduce-0"), signal.SIGKILL)
    wait_for("who is missing is said", lambda: site.get("/readyz") == (503, "reduce-0: starting\n"))
    for spare in before["spares"]:
        os.kill(spare, signal.SIGCONT)
    for worker in before["workers"]:
        if worker["slot"] != "reduce-0":
            os.kill(worker["pid"], signal.SIGKILL)
    wait_for(
        "all are back",
        lambda: site.metrics()["wcsup_restarts_total reason=killed"] == 3 and site.ready,
    )
    wcsup.application.feed([b"one more"])
    wait_for(
        "it is counted, and both roles have reported it",
        lambda: (
            (now := site.metrics())["wcsup_words_total"] == expected.total() + 2
            and now["wcsup_lines_total"] > found["wcsup_lines_total"]
        ),
    )
    after = site.metrics()
    fallen = {
        name: (value, after.get(name))
        for name, value in found.items()
        if re.search(r"_(total|count|bucket)( |$)", name) and after.get(name, -1) < value
    }
    assert not fallen
    assert after["wcsup_lines_total"] == found["wcsup_lines_total"] + 1
    assert after["wcsup_distinct_words"] == len(expected | recount([b"one more"]))

    # And the end is told while it lasts
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(WAIT_SECONDS) == 0


def test_an_address_that_is_taken_is_said_before_anything_is_started(wcsup: Shell) -> None:
    site = Site(wcsup, "--mappers 1 --reducers 1")
    refused = wcsup(f"run --http {site.url.removeprefix('http://')} --bootstrap-servers 127.0.0.1:1")
    assert (refused.status, refused.out) == (3, "")
    assert re.fullmatch(r"wcsup: --http 127\.0\.0\.1:\d+ is taken by another process\n", refused.err)


def test_a_total_is_told_by_the_reducer_that_owns_the_word(wcsup: Shell) -> None:
    # Given a run that has counted
    lines = prose(500, seed=8)
    wcsup.application.make_topics()
    wcsup.application.feed(lines)
    site = Site(wcsup, "--mappers 1 --reducers 1")
    wait_for("it is ready", lambda: site.ready)
    wcsup.application.wait_counted()
    word, count = max(recount(lines).items(), key=lambda item: item[1])

    # Then a word's total has the offset up to which it holds, its time, and who told it
    told = site.word(word.decode())
    assert (told["word"], told["count"], told["owner"]) == (word.decode(), count, "reduce-0")
    assert told["committed_at"] is not None
    assert told["offset"] > 0
    assert site.word("neverwritten")["count"] == 0
    assert site.get("/counts/two%20words")[0] == 400
    assert wcsup(f"count {word.decode()} neverwritten --json").json == [
        {"word": word.decode(), "count": count},
        {"word": "neverwritten", "count": 0},
    ]

    # And the commits that made it are told, with the records that they counted
    why = wcsup(f"explain {word.decode()} --json").json
    assert (why["total"], why["changes"][-1]["total"], why["waiting"]) == (count, count, [])
    assert all(
        change["change"] == sum(record["count"] for record in change["records"])
        for change in why["changes"]
        if change["records"] is not None
    )

    # And without a run it is read from the topic, and the same
    assert wcsup("drain --wait").status == 0
    assert wcsup(f"count {word.decode()} --json").json == [{"word": word.decode(), "count": count}]


def test_what_the_page_asks_for_and_how_it_steers(wcsup: Shell) -> None:
    # Given a run with a token that has counted, but for two lines
    wcsup.application.make_topics()
    lines = prose(500, seed=9)
    unfit = [b"caf\xe9 \x1b[31m" + b"y" * (_core.MAX_WORD_BYTES + 1), b"x" * (_core.MAX_WORD_BYTES + 1)]
    wcsup.application.feed([*lines, *unfit])
    site = Site(wcsup, "--mappers 2 --reducers 1 --http-token token")
    token = (wcsup.place / "token").read_text().strip()
    words = recount(lines).total()
    wait_for("all is counted", lambda: site.ready and site.metrics().get("wcsup_words_total") == words)

    # Then the page is told of the dead letters, this host, events and what was before
    letters = site.json("/dead-letters.json")["letters"]
    assert {one["topic"] for one in letters} == {wcsup.config.topic("lines")}
    assert sorted(one["value"]["text"][:14] for one in letters) == [r"caf\xe9 \x1b[3", "x" * 14]
    assert {one["value"]["size"] for one in letters} == {len(line) for line in unfit}
    assert all("is longer than" in one["error"] for one in letters)
    assert len(site.json("/dead-letters.json?limit=1")["letters"]) == 1
    wait_for("this host is heard of", lambda: site.get("/hosts.json")[0] == 200)
    hosts = site.json("/hosts.json")
    assert [(host["silent"], len(host["workers"])) for host in hosts["hosts"]] == [(False, 3)]
    assert "ready" in {one["event"] for one in site.json("/events.json?limit=100")["events"]}
    wait_for("a second is told", lambda: site.json("/history.json")["recent"]["time"])
    strips = site.json("/history.json")["commits"]
    assert strips.keys() == {"map-0", "map-1", "reduce-0"}
    mapped = [one for slot in ("map-0", "map-1") for one in strips[slot]["transactions"] if one["error"] is None]
    assert sum(one["records"] for one in mapped) == len(lines) + len(unfit)
    assert all(0 < one["seconds"] < WAIT_SECONDS and one["at"] <= time.time() for one in mapped)

    # And who knows the token kills a worker, has all recounted, and ends the run
    assert site.order("kill", "not the token", slot="map-0")[0] == 401
    before = next(one["pid"] for one in site.status()["workers"] if one["slot"] == "map-0")
    assert site.order("kill", token, slot="map-0")[0] == 200
    wait_for("it is replaced", lambda: site.status()["restarts"] == {"killed": 1} and site.ready)
    assert next(one["pid"] for one in site.status()["workers"] if one["slot"] == "map-0") != before
    assert site.order("scale", token, mappers=99)[0] == 409
    assert site.order("verify", token)[0] == 200
    wait_for("the verdict", lambda: site.json("/recount.json")["state"] != "running")
    told = site.json("/recount.json")
    assert (told["state"], told["why"]) == ("done", None)
    assert (told["verdict"]["exact"], told["verdict"]["words"]) == (True, words)
    assert site.order("drain", token)[0] == 200
    assert site.process.wait(WAIT_SECONDS) == 0
