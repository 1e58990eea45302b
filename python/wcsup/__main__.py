"""`python -m wcsup`: the command line."""

import sys

from wcsup.cli import main

sys.exit(main())
