"""The verdict on who has a fenced process's name, for everything that it may know."""

import pytest

from wcsup.pipeline.fencing import Fenced, has_successor

PRODUCER, MEMBER = False, True


@pytest.mark.parametrize(
    ("fenced", "answers", "verdict", "asked"),
    [
        # A process that takes over comes before the first poll.
        (Fenced(False, PRODUCER, False, True), {}, True, []),
        # One of the two is fenced, and the other one not: nobody has the name.
        (Fenced(True, PRODUCER, False, True), {"member": False}, False, ["member"]),
        (Fenced(True, MEMBER, False, True), {"producer": False}, False, ["producer"]),
        # Both are fenced: somebody has.
        (Fenced(True, PRODUCER, False, True), {"member": True}, True, ["member"]),
        (Fenced(True, MEMBER, False, True), {"producer": True}, True, ["producer"]),
        # Both are fenced, and may be for a transaction's time-out: the state directory tells.
        (Fenced(True, PRODUCER, True, True), {"member": True, "claim": True}, False, ["member", "claim"]),
        (Fenced(True, PRODUCER, True, True), {"member": True, "claim": False}, True, ["member", "claim"]),
        (Fenced(True, MEMBER, True, True), {"claim": True}, False, ["claim"]),
        (Fenced(True, MEMBER, True, True), {"claim": False}, True, ["claim"]),
        # The time-out fences the producer alone where the member goes on.
        (Fenced(True, PRODUCER, True, True), {"member": False}, False, ["member"]),
        # KIP-848 has no static members to ask.
        (Fenced(True, PRODUCER, False, False), {"claim": False}, True, ["claim"]),
        (Fenced(True, PRODUCER, False, False), {"claim": True, "twin": True}, True, ["claim", "twin"]),
        (Fenced(True, PRODUCER, False, False), {"claim": True, "twin": False}, False, ["claim", "twin"]),
        (Fenced(True, PRODUCER, True, False), {"claim": True}, False, ["claim"]),
        (Fenced(True, PRODUCER, True, False), {"claim": False}, True, ["claim"]),
    ],
)
def test_the_verdict(fenced: Fenced, answers: dict[str, bool], verdict: bool, asked: list[str]) -> None:
    questions: list[str] = []

    def answer(question: str) -> bool:
        questions.append(question)
        return answers[question]

    found = has_successor(
        fenced,
        claimed=lambda: answer("claim"),
        superseded=lambda: answer("producer"),
        member_is_fenced=lambda: answer("member"),
        successor_joins=lambda: answer("twin"),
    )
    assert (found, questions) == (verdict, asked)
