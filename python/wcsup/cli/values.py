"""Types of option values: an address to listen at, a size in bytes, processors."""

import os
import re

import click


class Address(click.ParamType[tuple[str, int]]):
    """An address to listen at, such as `127.0.0.1:9090` or `[::]:9090`; port 0 means any free port."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return host and port or fail with one line."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s\[\]:/]+)):(\d{1,5})", str(value))
        if match is None or int(match[3]) > 65535:
            self.fail(f"{value!r}: expected HOST:PORT, such as 127.0.0.1:9090", param, ctx)
        return match[1] or match[2], int(match[3])


class Size(click.ParamType[int]):
    """A number of bytes, such as `300M` or `1.5G`."""

    name = "size"

    def __init__(self, least: int = 1) -> None:
        """`least` is the smallest size that is taken, in bytes."""
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes or fail with one line."""
        match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([KMGT]?)(?:i?B)?", str(value), re.IGNORECASE)
        size = float(match[1]) * 1024.0 ** " KMGT".index(match[2].upper() or " ") if match else 0.0
        if size < 1:
            self.fail(f"{value!r}: expected a size such as 300M or 1.5G", param, ctx)
        if size < self._least:
            self.fail(f"{value!r} is too little: {self._least >> 20}M is the least", param, ctx)
        return int(size)


class Processors(click.ParamType[tuple[int, ...]]):
    """Numbers of processors, such as `0,1` or `0-3`."""

    name = "processors"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers or fail with one line."""
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
            if match is None:
                self.fail(f"{value!r}: expected numbers of processors, such as 0,1 or 0-3", param, ctx)
            numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
        if not hasattr(os, "sched_getaffinity"):
            self.fail("this system does not let a process be bound to a processor", param, ctx)
        usable = os.sched_getaffinity(0)
        if not numbers or not usable.issuperset(numbers):
            there = ",".join(map(str, sorted(usable)))
            self.fail(f"{value!r}: this process may use processors {there}", param, ctx)
        return tuple(dict.fromkeys(numbers))
