"""A worker whose --kafka-config may say what no user's may: `python unreserved.py SETTING…`."""

import sys

from wcsup.kafka import clients
from wcsup.pipeline.__main__ import main

for setting in sys.argv[1:]:
    del clients._KEPT[setting]
main()
