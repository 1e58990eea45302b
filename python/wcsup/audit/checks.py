"""The results of `wcsup doctor`: one line for each check, with what to do if it is not ok."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Health(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    """It works, but should be looked at."""
    FAILED = "failed"
    """It can't work like this."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    health: Health
    message: str

    @classmethod
    def ok(cls, name: str, message: str) -> "Check":
        """Return a check that is ok."""
        return cls(name, Health.OK, message)

    @classmethod
    def warning(cls, name: str, message: str) -> "Check":
        """Return a check with a warning."""
        return cls(name, Health.WARNING, message)

    @classmethod
    def failed(cls, name: str, message: str) -> "Check":
        """Return a failed check."""
        return cls(name, Health.FAILED, message)


def healthy(checks: Iterable[Check]) -> bool:
    """Return whether no check failed."""
    return all(check.health is not Health.FAILED for check in checks)


def to_json(checks: Iterable[Check]) -> dict[str, Any]:
    """Return the object that `doctor --json` prints."""
    checks = list(checks)
    return {"ok": healthy(checks), "checks": [asdict(check) for check in checks]}
