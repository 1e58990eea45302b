"""What a worker makes of clients that are not let in, with brokers that a test makes up."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock as Fake

import pytest
from confluent_kafka import KafkaError

from wcsup.config import Config
from wcsup.errors import RefusedError, RetryError
from wcsup.kafka import causes, clients
from wcsup.kafka.causes import Causes
from wcsup.pipeline import login
from wcsup.pipeline.login import Login
from wcsup.pipeline.patience import REFUSED_SECONDS, Doing, Patience

SAID = (
    "sasl_plaintext://broker:9092/bootstrap: SASL authentication error: Authentication failed during authentication "
    "due to invalid credentials with SASL mechanism SCRAM-SHA-256 (after 5ms in state AUTH_REQ)"
)


@dataclass
class Scene:
    """A worker's login, and what brokers answer when they are asked."""

    login: Login
    patience: Patience
    heard: Causes
    file: Path
    answer: str | None = None
    """What a new client is told: that it is not let in, nothing at all (empty), or none where it is let in."""
    asked: int = 0
    now: float = 0.0

    def lets_in(self, *_: object) -> bool:
        self.asked += 1
        if self.answer:
            self.heard.hear(KafkaError(KafkaError._AUTHENTICATION, self.answer))
        return self.answer is None


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    file = tmp_path / "client.properties"
    file.write_text("sasl.username=me\nsasl.password=first\n")
    heard = Causes()
    for module in (causes, login):
        monkeypatch.setattr(module, "CAUSES", heard)
    monkeypatch.setattr(login, "_LOOK_SECONDS", 0)
    clock: Callable[[], float] = lambda: made.now  # noqa: E731 - it is known below
    patience = Patience(clock)
    config = Config(bootstrap_servers="broker:9092", kafka_config=file)
    made = Scene(Login(config, Fake(), patience), patience, heard, file)
    monkeypatch.setattr(clients, "lets_in", made.lets_in)
    return made


def log_of_a_client(text: str, facility: str = "FAIL", level: int = logging.ERROR) -> bool:
    """Return whether what a client logs of a failed connection is to be seen."""
    record = logging.LogRecord("x", level, "", 0, "%s [%s] %s", (facility, "me#consumer-1", text), None)
    return causes.SaidElsewhere().filter(record)


def test_nobody_is_asked_while_no_client_tells_of_a_login(scene: Scene) -> None:
    assert log_of_a_client("[thrd:broker:9092/1]: broker:9092/1: Connect to ipv4#10.0.0.1:9092 failed: refused")
    scene.login.look()
    assert scene.asked == 0
    assert not scene.patience.waiting


def test_a_token_server_that_gives_no_token_is_heard_of_and_logged_unless_somebody_will_say_it(scene: Scene) -> None:
    said = '[thrd:background]: Failed to retrieve OIDC token from "http://tokens/": {"error": "invalid_client"} (401)'
    assert log_of_a_client("[thrd:background]: asking for a token", "OIDC", logging.DEBUG)
    assert scene.heard.login_since(0) is None
    assert log_of_a_client(said, "OIDC")
    heard = scene.heard.login_since(0)
    assert heard is not None
    assert heard.text.startswith("Failed to retrieve OIDC token from")
    scene.heard.told = True
    assert not log_of_a_client(said, "OIDC")


def test_what_a_client_logs_is_asked_about_and_waited_for(scene: Scene) -> None:
    assert not log_of_a_client(f"[thrd:sasl_plaintext://broker:9092/bootstrap]: {SAID}")
    scene.answer = SAID
    for _ in range(2):
        scene.login.look()
    assert scene.asked == 2
    assert scene.patience.waits_for(Doing.LOGIN)
    scene.now += REFUSED_SECONDS + 1
    with pytest.raises(
        RefusedError, match=r"broker:9092 does not let user me in: SASL authentication error: Auth.*\. Che"
    ):
        scene.login.look()


def test_a_login_that_succeeds_again_is_asked_about_no_more(scene: Scene) -> None:
    log_of_a_client(SAID)
    scene.answer = SAID
    scene.login.look()
    scene.answer = None
    for _ in range(3):
        scene.login.look()
    assert scene.asked == 2
    assert not scene.patience.waiting


@pytest.mark.parametrize(
    "answer", ["", "broker:9092: SASL handshake failed: Disconnected (after 1ms in state AUTH_REQ)"]
)
def test_silence_is_no_refusal(scene: Scene, answer: str) -> None:
    log_of_a_client(SAID)
    scene.answer = answer
    for _ in range(5):
        scene.login.look()
        scene.now += REFUSED_SECONDS
    assert scene.asked == 5
    assert not scene.patience.waiting


def test_settings_that_were_changed_meanwhile_are_for_a_new_process(scene: Scene) -> None:
    log_of_a_client(SAID)
    scene.file.write_text("sasl.username=me\nsasl.password=second\n")
    with pytest.raises(RetryError, match="a new process goes on") as ended:
        scene.login.look()
    assert "second" not in str(ended.value)
