"""What an older wcsup wrote is read, and what a newer one says is passed over or refused with what to do.

`golden/` has what versions wrote. A file there is never changed: a new format gets a new file beside it.
"""

import json
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from totals import eight

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.pipeline.records import refuse_newer
from wcsup.pipeline.report import Counters, Job, Phase, Report
from wcsup.state.store import Cached, Stamp, Store

GOLDEN = Path(__file__).parent / "golden"

WORDS_0_1_0 = [
    (b"whale", eight(3)),
    (b"sea", None),
    (b"\0", b"WCSUP\0\0\1\2be\xc8\1\3not\x64"),
    (b"\0", b"WCSUP\0\0\2\2or\x64\2to\xc8\1"),
]
"""Records of `words`: plain, of another word count, packed for one partition, and packed for any."""
COUNTS_0_1_0 = {b"whale": 3, b"sea": 1, b"be": 200, b"not": 100, b"or": 100, b"to": 200}

JOB_0_1_0 = json.dumps(
    {"role": "map", "slot": "0", "report_fd": 5, "log_level": "info", "config": json.dumps({"app_id": "a"})}
)
REPORT_0_1_0 = (
    '{"phase":"running","beat":7,"ready":true,"partitions":[1],"restoring":{"1":[2,3]},"restore_seconds":null,'
    '"counters":{"records":9,"batch_records":{"bounds":[1.0],"counts":[2,0],"sum":2.0},"step_seconds":{}},'
    '"top":[["sea",4]]}'
)


def test_a_store_of_0_1_0_is_read(tmp_path: Path) -> None:
    with tarfile.open(GOLDEN / "store-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    with closing(Store.open(tmp_path, Cached())) as store:
        assert store.items() == [(b"sea", eight(2**40)), (b"whale", eight(3)), (b"\xff\0", eight(1))]
        top = (("sea", 2**40), ("whale", 3))
        assert store.stamp == Stamp("cluster", "topic", 12, 7, own=True, distinct=3, total=2**40 + 4, top=top)


def test_records_of_0_1_0_are_read() -> None:
    batch = _core.Aggregator(1)
    batch.own(0, 0)
    batch.add(_core.Inbox((0, offset, key, value) for offset, (key, value) in enumerate(WORDS_0_1_0)))
    assert not batch.rejected()
    totals = batch.totals(0, [None] * len(COUNTS_0_1_0))
    assert totals.pairs() == [(word, eight(count)) for word, count in sorted(COUNTS_0_1_0.items())]


def test_a_record_of_a_newer_version_is_refused_and_says_where_it_is() -> None:
    newer = (3, 41, b"\0", b"WCSUP\0\0\x03\1a\1", "why")
    with pytest.raises(ConfigurationError, match=r"partition 3, offset 41, version 3 where this one reads 2"):
        refuse_newer("words", newer)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"word", b"WCSUP\0\0\x03\1a\1"),
        (b"\0", b"WCSUP\0\0\2\1"),
        (b"\0", b"WCSUP\0\0\0\1a\1"),
        (b"\0", b"WCSUP\0\0"),
        (b"\0", None),
        (None, b"WCSUP\0\0\x03\1a\1"),
    ],
)
def test_a_damaged_record_is_a_dead_letter(key: bytes | None, value: bytes | None) -> None:
    refuse_newer("words", (3, 41, key, value, "why"))


def test_a_job_of_0_1_0_is_read() -> None:
    assert Job.from_json(JOB_0_1_0) == Job("map", "0", Config(app_id="a"), 5)


def test_what_a_newer_supervisor_adds_to_a_job_is_passed_over() -> None:
    job = json.loads(JOB_0_1_0)
    job |= {"more": 1, "config": json.dumps({"app_id": "a", "another_option": 2})}
    assert Job.from_json(json.dumps(job)) == Job("map", "0", Config(app_id="a"), 5)


@pytest.mark.parametrize(("talk", "which"), [(0, "an older"), (2, "a newer")])
def test_a_job_that_would_be_misunderstood_is_refused(talk: int, which: str) -> None:
    with pytest.raises(ConfigurationError, match=f"is of {which} wcsup than the one that is installed"):
        Job.from_json(json.dumps({**json.loads(JOB_0_1_0), "talk": talk}))


def test_a_report_with_less_and_with_more_is_read() -> None:
    expected = Report(Phase.RUNNING, beat=7, ready=True, partitions=[1], restoring={1: (2, 3)}, top=[("sea", 4)])
    found = Report.from_json(REPORT_0_1_0)
    assert found.counters.records == 9
    assert found.counters.batch_records.counts == [2, 0]
    found.counters = Counters()
    assert found == expected
    more = json.loads(REPORT_0_1_0)
    more |= {"latency": 3.5}
    more["counters"]["flights"] = 4
    assert Report.from_json(json.dumps(more)).counters.records == 9
