"""Modules that are loaded only when they are used."""

import subprocess
import sys

_SCRIPT = """
import sys
import wcsup.cli
import wcsup.pipeline.process
assert "asyncio.events" not in sys.modules, "a worker loads it"
import asyncio
import asyncio.subprocess
assert asyncio.run(asyncio.sleep(0, "slept")) == "slept"
from asyncio import Queue
import confluent_kafka._serde_builder as user
assert asyncio.Queue is Queue is user.asyncio.Queue
assert sys.modules["asyncio"] is asyncio
"""


def test_a_worker_does_not_load_asyncio_and_whoever_uses_it_gets_it() -> None:
    subprocess.run([sys.executable, "-c", _SCRIPT], check=True)


def test_what_is_loaded_already_stays() -> None:
    script = "import asyncio, sys; import wcsup; assert sys.modules['asyncio'] is asyncio"
    subprocess.run([sys.executable, "-c", script], check=True)
