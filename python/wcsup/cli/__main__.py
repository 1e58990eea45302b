"""`python -m wcsup.cli` is `wcsup`."""

import sys

from wcsup.cli import main

sys.exit(main())
