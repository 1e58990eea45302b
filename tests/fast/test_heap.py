"""Where librdkafka has what it makes. Each test is a process of its own, for a process has one heap for good."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="librdkafka keeps the C library's heap here, see Cargo.toml"
)

PRELUDE = """
import ctypes
from confluent_kafka import Consumer, cimpl
from wcsup import _core

library = ctypes.CDLL(cimpl.__file__)
library.rd_kafka_conf_new.restype = ctypes.c_void_p
library.rd_kafka_conf_dup.restype = ctypes.c_void_p

def in_c_heap(address):
    with open("/proc/self/maps") as maps:
        heap = next(line for line in maps if line.rstrip().endswith("[heap]"))
    start, end = (int(part, 16) for part in heap.split()[0].split("-"))
    return start <= address < end

def setting(conf, name, value):
    return library.rd_kafka_conf_set(ctypes.c_void_p(conf), name, value, None, 0)
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, check=False)


def test_what_librdkafka_makes_is_no_longer_in_the_heap_of_c() -> None:
    done = run("""
before = library.rd_kafka_conf_new()
assert in_c_heap(before)
assert _core.separate_heap()
after = library.rd_kafka_conf_new()
assert not in_c_heap(after)

# Either is changed and freed now, with texts that are the C library's (strdup).
for conf in (before, after):
    assert setting(conf, b"client.id", b"a" * 1000) == 0
    assert setting(conf, b"client.id", b"b") == 0
    copy = library.rd_kafka_conf_dup(ctypes.c_void_p(conf))
    for one in (conf, copy):
        library.rd_kafka_conf_destroy(ctypes.c_void_p(one))
print("done")
""")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_what_confluent_kafka_frees_itself_is_in_the_heap_of_c() -> None:
    """`list_topics` frees the cluster's id by the C library's `free`, which ends the process for memory of mimalloc."""
    done = run("""
assert _core.separate_heap()
consumer = Consumer({"group.id": "a", "test.mock.num.brokers": 1})
assert consumer.list_topics(timeout=10).cluster_id.startswith("mockCluster")
consumer.close()
print("done")
""")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_python_keeps_its_heap() -> None:
    done = run("""
assert _core.separate_heap()
process = ctypes.CDLL(None)
process.malloc.restype = ctypes.c_void_p
assert in_c_heap(process.malloc(100))
print("done")
""")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_it_is_too_late_where_a_client_is_there() -> None:
    done = run("""
consumer = Consumer({"group.id": "a", "bootstrap.servers": "127.0.0.1:9"})
try:
    _core.separate_heap()
except RuntimeError as error:
    print(error)
consumer.close()
del consumer
assert _core.separate_heap()
""")
    assert (done.returncode, done.stdout) == (0, "librdkafka has clients already\n"), done.stderr
