"""What `wcsup doctor` says: one line a check, with what to do where it is not well."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Health(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    """It works, and is worth a look."""
    FAILED = "failed"
    """It can't work so."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    health: Health
    message: str

    @classmethod
    def ok(cls, name: str, message: str) -> "Check":
        """Return a check that is well."""
        return cls(name, Health.OK, message)

    @classmethod
    def warning(cls, name: str, message: str) -> "Check":
        """Return a check that is worth a look."""
        return cls(name, Health.WARNING, message)

    @classmethod
    def failed(cls, name: str, message: str) -> "Check":
        """Return a check that says what can't work."""
        return cls(name, Health.FAILED, message)


def healthy(checks: Iterable[Check]) -> bool:
    """Whether nothing failed."""
    return all(check.health is not Health.FAILED for check in checks)


def to_json(checks: Iterable[Check]) -> dict[str, Any]:
    """Return what `doctor --json` prints."""
    checks = list(checks)
    return {"ok": healthy(checks), "checks": [asdict(check) for check in checks]}
