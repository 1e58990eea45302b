"""The ratios of the last recorded run, and what became slower since.

A ratio is of two things that were measured in turns in one run, so that machines and their load cancel out for the most
part. `pytest benches --record` writes those of this run to `recorded.json`, beside which they are kept.
"""

import json
from collections.abc import Iterator
from pathlib import Path

RECORDED = Path(__file__).with_name("recorded.json")

TOLERANCE = 0.2
"""What a ratio may be off by on a machine with other work before it is called slower."""


class Ratios:
    """Ratios of this run by name; more is better."""

    def __init__(self) -> None:
        self._now: dict[str, float] = {}
        self._before: dict[str, float] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}

    def __setitem__(self, name: str, ratio: float) -> None:
        self._now[name] = round(ratio, 3)

    def record(self) -> None:
        """Keep the ratios of this run; those that it did not measure stay."""
        RECORDED.write_text(json.dumps(dict(sorted({**self._before, **self._now}.items())), indent=1) + "\n")

    def report(self) -> Iterator[str]:
        """Yield a line for each ratio of this run."""
        for name, now in sorted(self._now.items()):
            before = self._before.get(name)
            if before is None:
                yield f"{name}: {now:.3g}, not recorded before"
            else:
                change = now / before - 1
                verdict = "SLOWER" if change < -TOLERANCE else "faster" if change > TOLERANCE else "as before"
                yield f"{name}: {now:.3g}, recorded {before:.3g} ({change:+.0%}): {verdict}"
