"""Points in time as they are told."""

from datetime import UTC, datetime


def clock(time: str) -> str:
    """Return the time of day here of a time that is given as ISO 8601."""
    return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S")


def utc(seconds: float, timespec: str = "milliseconds") -> str:
    """Return a time in seconds since 1970 as ISO 8601 in UTC; `timespec` is how precise it is."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
