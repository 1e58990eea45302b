"""`/openapi.json` against the routes, against real answers, and against requests that schemathesis makes up."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from pages import TOKEN, MadeRun, run
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from wcsup.observe.web.control import COMMANDS, PLACE
from wcsup.observe.web.site import STREAM, Site

DOCUMENT: dict[str, Any] = json.loads(Site("books").answer("/openapi.json").body)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeRun]:
    with MadeRun(tmp_path_factory.mktemp("made"), steered=True) as running:
        for _ in range(5):
            running.show()
        yield running


def strict(schema: Any) -> Any:
    """The schema, closed: here a field that it does not describe is a mistake."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(one) for name, one in schema.items()}
    if "properties" in schema and "required" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


def validator(path: str) -> Draft202012Validator:
    ok = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    return Draft202012Validator({**ok, "components": strict(DOCUMENT["components"])})


def test_it_describes_each_path_and_no_other() -> None:
    served = {*Site("books").routes, STREAM, *(PLACE + command for command in COMMANDS)}
    assert {"/counts/" if path == "/counts/{word}" else path for path in DOCUMENT["paths"]} == served


def test_its_schemas_are_schemas_and_are_used() -> None:
    text = json.dumps(DOCUMENT["paths"]) + json.dumps(DOCUMENT["components"])
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert f'"#/components/schemas/{name}"' in text, name


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/status.json", "/status.json"),
        ("/history.json", "/history.json"),
        ("/hosts.json", "/hosts.json"),
        ("/dead-letters.json", "/dead-letters.json?limit=3"),
        ("/events.json", "/events.json?limit=3"),
        ("/recount.json", "/recount.json"),
        ("/counts/{word}", "/counts/whale"),
    ],
)
def test_real_answers_are_as_it_says(path: str, asked: str, made: MadeRun) -> None:
    answer = made.server._site.answer(asked)
    assert answer.status == 200
    validator(path).validate(json.loads(answer.body))


def test_a_field_that_is_not_described_is_found() -> None:
    told = json.loads(json.dumps(run(1).to_json()))
    validator("/status.json").validate(told)
    told["workers"][0]["colour"] = "blue"
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        validator("/status.json").validate(told)


schema = schemathesis.openapi.from_dict(DOCUMENT)


@schema.exclude(path=STREAM).parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_whatever_is_asked_the_answer_is_as_it_says(case: schemathesis.Case[Any], made: MadeRun) -> None:
    case.call_and_validate(
        base_url=made.url.rstrip("/"), headers={"Authorization": f"Bearer {TOKEN}"}, checks=CHECKS, timeout=20
    )
