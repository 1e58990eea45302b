"""Who may steer a run over HTTP, and what comes of it."""

import json
import sys
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from pages import TOKEN, MadeRun
from running import wait_for

from wcsup.errors import ConfigurationError, UsageError, WcsupError
from wcsup.observe.web.control import COMMANDS, Control, token_of
from wcsup.observe.web.recount import AskedRecount

GOOD = {
    "Host": "books.example.com:9090",
    "Authorization": f"Bearer {TOKEN}",
    "Content-Type": "application/json",
}


def control(asked: list[Any]) -> Control:
    made = Control(TOKEN)

    def steer(command: Mapping[str, Any]) -> Any:
        asked.append(dict(command))
        if command.get("slot") == "map-9":
            raise UsageError("there is no slot map-9")
        if command.get("slot") == "map-8":
            raise WcsupError("the supervisor did not answer")
        return {"slots": {}}

    def verify() -> dict[str, Any]:
        asked.append("verify")
        return {"state": "running"}

    made.steer(steer, verify)
    return made


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({}, 200, ""),
        ({"Authorization": f"bearer  {TOKEN} "}, 200, ""),
        ({"Content-Type": "application/json; charset=utf-8"}, 200, ""),
        ({"Origin": "http://books.example.com:9090", "Sec-Fetch-Site": "same-origin"}, 200, ""),
        ({"Origin": "https://books.example.com:9090"}, 200, ""),  # a proxy speaks TLS
        ({"Sec-Fetch-Site": "none"}, 200, ""),
        # A page of another site makes the browser ask
        ({"Sec-Fetch-Site": "cross-site"}, 403, "a page of another site"),
        ({"Sec-Fetch-Site": "same-site"}, 403, "a page of another site"),
        ({"Origin": "http://evil.example.com"}, 403, "a page of another site"),
        ({"Origin": "http://books.example.com:8080"}, 403, "a page of another site"),
        ({"Origin": "null"}, 403, "a page of another site"),
        ({"Origin": "http://[broken"}, 403, "a page of another site"),
        # Without the token
        ({"Authorization": None}, 401, "--http-token"),
        ({"Authorization": ""}, 401, "--http-token"),
        ({"Authorization": f"Basic {TOKEN}"}, 401, "--http-token"),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401, "--http-token"),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401, "--http-token"),
        ({"Authorization": "Bearer \udcff"}, 401, "--http-token"),
        # What a form can send
        ({"Content-Type": None}, 415, "application/json"),
        ({"Content-Type": "text/plain"}, 415, "application/json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
    ],
)
def test_who_may_steer(changes: dict[str, str | None], status: int, said: str) -> None:
    asked: list[Any] = []
    headers = {name: value for name, value in (GOOD | changes).items() if value is not None}
    answer = control(asked).answer("scale", headers, b'{"mappers": 3}', "client")
    assert answer.status == status
    assert said in answer.body.decode()
    assert asked == ([{"command": "scale", "mappers": 3}] if status == 200 else [])
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)


@pytest.mark.parametrize(
    ("command", "body", "status", "said"),
    [
        ("check", b"", 200, "{}"),
        ("restart", b'{"slot": "map-0"}', 200, '{"slots":{}}'),
        ("kill", b'{"slot": "map-0"}', 200, '{"slots":{}}'),
        ("drain", b"{}", 200, '{"slots":{}}'),
        ("drain", b"", 200, '{"slots":{}}'),
        ("verify", b"{}", 200, '{"state":"running"}'),
        ("restart", b'{"slot": "map-9"}', 409, "there is no slot map-9\n"),
        ("restart", b'{"slot": "map-8"}', 503, "the supervisor did not answer\n"),
        ("restart", b'{"slot": "map-0", "wait": true}', 400, "restart does not know wait\n"),
        ("restart", b"[]", 400, "the body has to be a JSON object\n"),
        ("restart", b"{", 400, "the body has to be a JSON object\n"),
        ("restart", b"\xff", 400, "the body has to be a JSON object\n"),
        ("restart", b"[" * 4000, 400, "the body has to be a JSON object\n"),
        ("status", b"{}", 404, "no command 'status'; there are check scale restart kill drain verify\n"),
    ],
)
def test_what_can_be_asked_for(command: str, body: bytes, status: int, said: str) -> None:
    answer = control([]).answer(command, GOOD, body, "client")
    assert (answer.status, answer.body.decode()) == (status, said)


def test_a_run_without_a_token_says_how_to_have_one() -> None:
    made = Control(None)
    made.steer(lambda _: pytest.fail("it was steered"), lambda: pytest.fail("it was steered"))
    for command in COMMANDS:
        answer = made.answer(command, GOOD | {"Authorization": "Bearer "}, b"{}", "client")
        assert (answer.status, "--http-token FILE" in answer.body.decode()) == (403, True)


def test_before_the_run_is_there_it_says_so() -> None:
    assert Control(TOKEN).answer("drain", GOOD, b"{}", "client").body == b"starting\n"


@pytest.fixture
def made(tmp_path: Path) -> Any:
    with MadeRun(tmp_path, steered=True) as running:
        yield running


def post(made: MadeRun, path: str, body: bytes = b"{}", **headers: str) -> tuple[int, str]:
    place = made.url.removeprefix("http://").rstrip("/")
    connection = HTTPConnection(place, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, GOOD | {"Host": place} | named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_request_reaches_the_supervisor(made: MadeRun) -> None:
    assert post(made, "/control/scale?x=1", b'{"reducers": 2}')[0] == 200
    assert made.asked == [{"command": "scale", "reducers": 2}]


def test_a_request_by_a_name_that_is_not_the_servers_is_refused(made: MadeRun) -> None:
    status, said = post(made, "/control/drain", Host="evil.example.com", Origin="http://evil.example.com")
    assert (status, "evil.example.com is not known" in said) == (421, True)
    assert made.asked == []


def test_a_body_is_bounded(made: MadeRun) -> None:
    assert post(made, "/control/scale", b" " * 5000)[0] == 413
    assert post(made, "/control/scale", Content_Length="x")[0] == 411
    assert post(made, "/control/scale", Content_Length="-1")[0] == 411
    assert post(made, "/")[0] == 405
    assert made.asked == []


# The token's file


def test_a_file_that_is_not_there_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = token_of(file)
    assert len(token) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert token_of(file) == token


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (TOKEN, 0o644, "can be read by everybody on this machine: chmod 600 "),
        (TOKEN, 0o602, "can be read by everybody on this machine: chmod 600 "),
        ("short", 0o600, "at least 16"),
        ("", 0o600, "at least 16"),
        (f"{TOKEN} {TOKEN}", 0o600, "at least 16"),
        (f"{TOKEN}\n{TOKEN}", 0o600, "at least 16"),
        ("é" * 20, 0o600, "at least 16"),
    ],
)
def test_a_bad_token_is_refused_in_one_line(content: str, mode: int, why: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match=why) as caught:
        token_of(file)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read: No such file"):
        token_of(tmp_path / "none" / "token")


# A recount


def recount(program: str) -> AskedRecount:
    return AskedRecount([sys.executable, "-c", program], {"OF": "books"})


def test_a_recount_runs_once_and_its_verdict_is_kept() -> None:
    made = recount("import json, os, sys; print(json.dumps({'exact': True, 'of': os.environ['OF']})); sys.stdin.read()")
    assert made.told()["state"] == "never"
    assert made.start()["state"] == "running"
    told = wait_for(lambda: made.told()["state"] == "done" and made.told())
    assert told["verdict"] == {"exact": True, "of": "books"}
    assert told["why"] is None
    assert json.dumps(told)
    assert made.start()["state"] == "running"


def test_a_recount_that_fails_says_why() -> None:
    made = recount("import sys; sys.exit('no broker answers')")
    made.start()
    told = wait_for(lambda: made.told()["state"] == "failed" and made.told())
    assert (told["verdict"], told["why"]) == (None, "no broker answers")


def test_one_recount_at_a_time_and_none_outlives_the_run() -> None:
    made = recount("import time; time.sleep(600)")
    made.start()
    with pytest.raises(UsageError, match="is under way since"):
        made.start()
    made.end()
    assert wait_for(lambda: made.told()["state"] == "failed" and made.told())["why"] == "it ended with status -9"
