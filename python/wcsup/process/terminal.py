"""What the environment says of terminals."""

import os


def colored() -> bool:
    """Return whether text on a terminal may be coloured: see https://no-color.org."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
