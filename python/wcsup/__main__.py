"""`wcsup` and `python -m wcsup`: the command line."""

import signal
import sys

# While modules are loaded, Ctrl-C ends the process at once and without a traceback. Who ignores it, as nohup does, goes
# on ignoring it.
_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _heeded:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from wcsup.cli import main as _main  # noqa: E402 - see above


def main() -> int:
    """Run the command line of this process; return its exit status."""
    if _heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return _main()


if __name__ == "__main__":
    sys.exit(main())
