"""What Prometheus is told: names by its conventions, values by the snapshot, and a Grafana dashboard that fits."""

import json
import math
import re
from importlib.resources import files
from typing import Any

import promql_parser
import pytest
from deployed import TOP, compose, document
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from snapshots import snapshot, worker

from wcsup import __version__
from wcsup.observe.metrics import RESTART_REASONS, registry
from wcsup.pipeline.report import SECONDS, Counters, Histogram, Report
from wcsup.supervisor import LagView, Snapshot
from wcsup.supervisor.policy import Death
from wcsup.supervisor.resources import Usage
from wcsup.supervisor.slot import Slot, SlotState

Labels = frozenset[tuple[str, str]]


def families(shown: Snapshot | None) -> dict[str, Metric]:
    """What a scrape says, through the format and Prometheus' own parser."""
    text = generate_latest(registry("books", lambda: shown)).decode()
    found = list(text_string_to_metric_families(text))
    assert len({family.name for family in found}) == len(found), "each metric comes once"
    return {family.name: family for family in found}


def values(shown: Snapshot | None) -> dict[tuple[str, Labels], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(shown).values()
        for sample in family.samples
    }


def labels(**named: str) -> Labels:
    return frozenset(named.items())


def busy() -> Snapshot:
    """A snapshot that has something of everything."""
    mapped = Counters(
        records=1000,
        words=9000,
        bytes=60_000,
        written=4000,
        null_lines=3,
        dead_letters=1,
        commits=4,
        commit_seconds=0.5,
    )
    mapped.aborts = {"ILLEGAL_GENERATION": 2}
    for records in (1, 10, 489, 500):
        mapped.batch_records.observe(records)
    mapped.step_seconds["produce"] = Histogram(SECONDS)
    for seconds in (0.0005, 0.004, 0.005, 60.0):
        mapped.step_seconds["produce"].observe(seconds)
    reduced = Counters(records=4000, words=9000, bytes=20_000, written=3500, commits=9, restored=77)
    reduced.latency.observe(0.012, 8900)
    reduced.latency.observe(700_000.0, 100)
    return snapshot(
        worker("map", counters=mapped, cpu_seconds=12.5, heartbeat_seconds=0.25, last_commit_seconds=61.5),
        worker("map", 1, state=SlotState.BACKOFF, ready=False, pid=None, rss_bytes=None, partitions=[], restarts=3),
        worker(
            "reduce",
            counters=reduced,
            distinct=500,
            total=9000,
            state_bytes=4096,
            kept_words=12,
            words_in_memory=40,
            bytes_in_memory=410,
            state_memory=1 << 20,
        ),
        worker(
            *("reduce", 1),
            state=SlotState.RESTORING,
            ready=False,
            restoring={2: (30, 100), 3: (0, 20)},
            restore_seconds=1.5,
            aborts_in_row={"ILLEGAL_GENERATION": 6},
            distinct=7,
            total=8,
        ),
        lag=LagView(30, 5, {0: 10, 1: 20}, {0: 5, 1: 0}, {1: 5400.0}, oldest_seconds=90.5),
        restarts={"killed": 2, "max_rss": 1},
        spares=[7, 8],
        ready=False,
    )


def test_names_and_help_follow_the_conventions() -> None:
    found = families(busy())

    assert len(found) > 35
    for name, family in found.items():
        assert re.fullmatch(r"(wcsup|process)(_[a-z]+)*", name)
        assert len(family.documentation) > 10
        assert family.type in {"counter", "gauge", "histogram", "summary"}
        for sample in family.samples:
            # The parser takes the suffix off a counter's name; a sample has it.
            assert (sample.name == f"{name}_total") == (family.type == "counter")
            assert not math.isnan(sample.value)
        # Base units, at the end of the name; a type, an abbreviation or a colon is no part of it.
        assert not re.search(r"_(ms|millis\w*|minutes|kb|mb|megabytes|percent|counter|gauge|histogram)(_|$)", name)
        assert not (family.type in {"gauge"} and re.search(r"_(total|count|sum|bucket)$", name))


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    encode, kind = choose_encoder("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    found = {family.name: family for family in parse_openmetrics(encode(registry("books", busy)).decode())}
    assert found["wcsup_lines"].type == "counter"
    assert found["wcsup_commit_step_duration_seconds"].unit == "seconds"
    assert found["wcsup_worker_resident_memory_bytes"].unit == "bytes"


def test_labels_are_few_and_bounded() -> None:
    allowed = {"application", "version", "role", "slot", "state", "reason", "step", "topic", "partition", "le"}
    for family in families(busy()).values():
        for sample in family.samples:
            assert set(sample.labels) <= allowed

    def size(workers: int) -> int:
        return len(values(snapshot(*(worker("map", number) for number in range(workers)))))

    per_worker = size(2) - size(1)
    assert per_worker < 25
    assert size(51) == size(1) + 50 * per_worker


@pytest.mark.parametrize(
    ("name", "wanted", "value"),
    [
        ("wcsup_info", labels(application="books", version=__version__), 1),
        ("wcsup_ready", labels(), 0),
        ("wcsup_stopping", labels(), 0),
        ("wcsup_spare_workers", labels(), 2),
        ("wcsup_lines_total", labels(), 1000),
        ("wcsup_null_lines_total", labels(), 3),
        ("wcsup_words_total", labels(), 9000),
        ("wcsup_distinct_words", labels(), 507),
        ("wcsup_counted_words", labels(), 9008),
        ("wcsup_restored_records_total", labels(), 77),
        ("wcsup_input_records_total", labels(role="reduce"), 4000),
        ("wcsup_input_bytes_total", labels(role="map"), 60_000),
        ("wcsup_output_records_total", labels(role="reduce"), 3500),
        ("wcsup_dead_letters_total", labels(role="map"), 1),
        ("wcsup_commits_total", labels(role="reduce"), 9),
        ("wcsup_aborts_total", labels(role="map", reason="ILLEGAL_GENERATION"), 2),
        ("wcsup_commit_duration_seconds_sum", labels(role="map"), 0.5),
        ("wcsup_commit_duration_seconds_count", labels(role="map"), 4),
        ("wcsup_batch_records_sum", labels(role="map"), 1000),
        ("wcsup_batch_records_bucket", labels(role="map", le="10.0"), 2),
        ("wcsup_commit_step_duration_seconds_bucket", labels(role="map", step="produce", le="0.005"), 3),
        ("wcsup_commit_step_duration_seconds_bucket", labels(role="map", step="produce", le="10.0"), 3),
        ("wcsup_commit_step_duration_seconds_bucket", labels(role="map", step="produce", le="+Inf"), 4),
        ("wcsup_commit_step_duration_seconds_count", labels(role="map", step="produce"), 4),
        ("wcsup_restarts_total", labels(reason="killed"), 2),
        ("wcsup_restarts_total", labels(reason="hung"), 0),
        ("wcsup_lag_records", labels(topic="lines", partition="1"), 20),
        ("wcsup_lag_records", labels(topic="words", partition="0"), 5),
        ("wcsup_lines_retention_seconds", labels(partition="1"), 5400),
        ("wcsup_worker_state", labels(role="map", slot="map-1", state="backoff"), 1),
        ("wcsup_worker_state", labels(role="map", slot="map-1", state="running"), 0),
        ("wcsup_worker_ready", labels(role="reduce", slot="reduce-1"), 0),
        ("wcsup_worker_partitions", labels(role="map", slot="map-0"), 4),
        ("wcsup_worker_restarts_total", labels(role="map", slot="map-1"), 3),
        ("wcsup_worker_cpu_seconds_total", labels(role="map", slot="map-0"), 12.5),
        ("wcsup_worker_resident_memory_bytes", labels(role="map", slot="map-0"), 120_000_000),
        ("wcsup_worker_threads", labels(role="map", slot="map-0"), 5),
        ("wcsup_worker_open_fds", labels(role="map", slot="map-0"), 30),
        ("wcsup_worker_state_bytes", labels(role="reduce", slot="reduce-0"), 4096),
        ("wcsup_worker_kept_words", labels(role="reduce", slot="reduce-0"), 12),
        ("wcsup_worker_words_in_memory", labels(role="reduce", slot="reduce-0"), 40),
        ("wcsup_worker_bytes_in_memory", labels(role="reduce", slot="reduce-0"), 410),
        ("wcsup_worker_state_memory_bytes", labels(role="reduce", slot="reduce-0"), 1 << 20),
        ("wcsup_worker_restoring_partitions", labels(role="reduce", slot="reduce-1"), 2),
        ("wcsup_worker_restore_remaining_records", labels(role="reduce", slot="reduce-1"), 90),
        ("wcsup_worker_restore_remaining_seconds", labels(role="reduce", slot="reduce-1"), 1.5),
        ("wcsup_worker_restore_ratio", labels(role="reduce", slot="reduce-1"), 0.25),
        ("wcsup_worker_restore_ratio", labels(role="reduce", slot="reduce-0"), 1),
        ("wcsup_line_to_total_seconds_bucket", labels(le="0.01"), 0),
        ("wcsup_line_to_total_seconds_bucket", labels(le="0.02"), 8900),
        ("wcsup_line_to_total_seconds_bucket", labels(le="604800.0"), 8900),
        ("wcsup_line_to_total_seconds_count", labels(), 9000),
        ("wcsup_oldest_uncounted_seconds", labels(), 90.5),
        ("wcsup_worker_heartbeat_age_seconds", labels(role="map", slot="map-0"), 0.25),
        ("wcsup_worker_commit_age_seconds", labels(role="map", slot="map-0"), 61.5),
        ("wcsup_worker_aborts_in_row", labels(role="reduce", slot="reduce-1", reason="ILLEGAL_GENERATION"), 6),
    ],
)
def test_each_value_is_the_snapshots(name: str, wanted: Labels, value: float) -> None:
    assert values(busy())[name, wanted] == value


def test_a_store_that_is_not_compared_yet_is_not_restored() -> None:
    shown = snapshot(worker("reduce", restoring={0: (0, 0)}))
    assert values(shown)["wcsup_worker_restore_ratio", labels(role="reduce", slot="reduce-0")] == 0


def test_what_is_not_known_is_left_out() -> None:
    found = values(busy())
    assert ("wcsup_worker_resident_memory_bytes", labels(role="map", slot="map-1")) not in found
    assert ("wcsup_lines_retention_seconds", labels(partition="0")) not in found
    nothing = {name for name, _ in values(snapshot(worker("map")))}
    unknown = {"wcsup_lag_records", "wcsup_lines_retention_seconds", "wcsup_oldest_uncounted_seconds"}
    assert not nothing & {*unknown, "wcsup_worker_commit_age_seconds", "wcsup_worker_heartbeat_age_seconds"}


def test_before_the_first_snapshot_there_is_a_process() -> None:
    found = families(None)
    assert set(found) >= {"wcsup_info", "process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"}
    assert "wcsup_lines" not in found


def test_every_reason_of_a_restart_is_there_from_the_start() -> None:
    causes = {Death(0.0, code).cause for code in (*range(-31, 12), 77)} | {Death(0.0, -9, hung=True).cause}
    # A worker with the wrong configuration or with a taken name is not replaced.
    assert causes - {"configuration", "usage", "fenced", "orphaned"} <= set(RESTART_REASONS)


def test_processor_time_of_a_slot_outlives_its_processes() -> None:
    slot = Slot("map", 0)
    slot.measured(Usage(50.0, 1, 1, 1, cpu_seconds=2.0))
    slot.measured(Usage(50.0, 1, 1, 1, cpu_seconds=3.0))
    slot.measured(None)  # it is gone, and was not buried yet
    assert slot.cpu_seconds == 3.0
    slot.ended(-9, now=1.0)
    assert slot.cpu_seconds == 3.0
    slot.measured(Usage(50.0, 1, 1, 1, cpu_seconds=0.5))
    assert slot.cpu_seconds == 3.5


def test_counters_of_a_slot_outlive_its_processes() -> None:
    def at_work(records: int, seconds: float) -> Report:
        counters = Counters(records=records, commits=1)
        counters.batch_records.observe(records)
        counters.step_seconds["commit"] = Histogram(SECONDS)
        counters.step_seconds["commit"].observe(seconds)
        return Report(counters=counters)

    slot = Slot("map", 0)
    slot.heard(at_work(50, 0.01), now=0.0)
    slot.ended(-9, now=1.0)
    slot.heard(at_work(7, 0.3), now=2.0)

    found = values(snapshot(worker("map", counters=slot.counters)))
    assert found["wcsup_lines_total", labels()] == 57
    assert found["wcsup_batch_records_count", labels(role="map")] == 2
    assert found["wcsup_batch_records_sum", labels(role="map")] == 57
    assert found["wcsup_commit_step_duration_seconds_sum", labels(role="map", step="commit")] == pytest.approx(0.31)


# The dashboard for Grafana

GRAFANA: dict[str, Any] = json.loads(files("wcsup.observe").joinpath("grafana.json").read_text())


def test_grafana_asks_for_nothing_that_is_not_there() -> None:
    there = {name for name, _ in values(busy())}
    queries = [target["expr"] for panel in GRAFANA["panels"] for target in panel["targets"]]
    queries += [variable["query"]["query"] for variable in GRAFANA["templating"]["list"] if variable["type"] == "query"]
    asked = {name for query in queries for name in re.findall(r"\b(?:wcsup|process)_\w+", query)}

    assert len(asked) > 20
    assert asked <= there
    for query in queries:
        for name, value in re.findall(r'(\w+)="([a-z]+)"', query):
            assert name in {"role", "topic"}
            assert value in {"map", "reduce", "lines", "words"}


def test_grafana_has_panels_side_by_side() -> None:
    panels = GRAFANA["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"] and panel["targets"] and panel["datasource"]["uid"] == "${datasource}"
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


# The alerts of Prometheus

PROMETHEUS = TOP / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in document(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]
]

OF_PROMETHEUS = {"job", "instance"}
"""Labels that a scrape adds."""


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """The series that an expression asks for; fails where it is no PromQL."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_there(rule: dict[str, Any]) -> None:
    there: dict[str, set[str]] = {"up": set()}
    for name, named in values(busy()):
        there.setdefault(name, set()).update(label for label, _ in named)

    asked = selectors(rule["expr"])
    assert asked
    names = {selector.name for selector in asked}
    assert names <= there.keys()
    labels_there = OF_PROMETHEUS.union(*(there[str(name)] for name in names))
    for selector in asked:
        for matcher in selector.matchers.matchers:
            assert matcher.name in there[str(selector.name)] | OF_PROMETHEUS
            if matcher.name == "state":
                assert matcher.value in {state.value for state in SlotState}
            elif matcher.name == "reason":
                assert set(matcher.value.split("|")) <= {*RESTART_REASONS}
            else:
                assert (matcher.name, matcher.value) == ("job", "wcsup")
    for grouped in re.findall(r"(?:by|on) \(([a-z, ]+)\)", rule["expr"]):
        assert set(grouped.split(", ")) <= labels_there
    for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
        assert label in labels_there


def test_an_alert_says_what_happened_and_how_bad_it_is() -> None:
    assert len(RULES) > 5
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_prometheus_asks_every_host_and_reads_the_alerts() -> None:
    asked = document(PROMETHEUS / "prometheus.yml")
    [job] = asked["scrape_configs"]
    [found] = job["dns_sd_configs"]
    assert job["job_name"] == "wcsup"
    assert found["names"][0] in compose()["services"]
    assert asked["rule_files"] == ["alerts.yml"]
