"""Disks that fill up, become read-only or can't be read: real file systems, where the tests may mount them."""

import fcntl
import os
import struct
import subprocess
from pathlib import Path

import pytest

_FIBMAP = 1
_BLOCK_BYTES = 4096
_LOOP = ("-o", "loop,errors=remount-ro")


def _mount(where: Path, *arguments: str) -> None:
    done = subprocess.run(["mount", *arguments, str(where)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a disk of its own needs a mount, and this process may not: {done.stderr.strip()}")


def _unmount(where: Path) -> None:
    subprocess.run(["umount", str(where)], check=True)


class Disks:
    """File systems that are mounted over directories until the test is over."""

    def __init__(self) -> None:
        self._mounted: list[Path] = []

    def memory(self, where: Path, options: str) -> None:
        """Mount a file system in memory, with a size or other options; a second call changes the options."""
        if where in self._mounted:
            _mount(where, "-o", f"remount,{options}", "tmpfs")
        else:
            self._over(where, "-t", "tmpfs", "-o", options, "tmpfs")

    def make_read_only(self, where: Path) -> None:
        """Let the directory's files be opened only for reading; files that are open for writing stay writable."""
        self._over(where, "--bind", str(where))
        _mount(where, "-o", "remount,bind,ro")

    def unmount(self, where: Path) -> None:
        """Undo the last mount over a directory."""
        self._mounted.remove(where)
        _unmount(where)

    def image(self, where: Path, file: Path) -> "Image":
        """Mount a file system whose blocks are in a file."""
        with file.open("wb") as made:
            made.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-b", str(_BLOCK_BYTES), "-E", "lazy_itable_init=0", str(file)], check=True)
        self._over(where, *_LOOP, str(file))
        return Image(where, file)

    def _over(self, where: Path, *arguments: str) -> None:
        where.mkdir(parents=True, exist_ok=True)
        _mount(where, *arguments)
        self._mounted.append(where)

    def close(self) -> None:
        for where in reversed(self._mounted):
            _unmount(where)


class Image:
    """A file system in a file, a part of which can be made unreadable."""

    def __init__(self, where: Path, file: Path) -> None:
        self._where = where
        self._file = file
        self._whole = b""

    def keep(self) -> None:
        """Save the content for `mend`, and drop the kernel's cache of it. No file may be open."""
        _unmount(self._where)
        self._whole = self._file.read_bytes()
        _mount(self._where, *_LOOP, str(self._file))

    def break_at(self, path: Path, start: int) -> None:
        """Make reads of a file fail from byte `start` on, as on a broken disk.

        The image is cut off at that block. A later write to a block behind it would make all of them readable again, so
        pending writes are flushed first.
        """
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.sync()
            block = fcntl.ioctl(descriptor, _FIBMAP, struct.pack("i", start // _BLOCK_BYTES))
        finally:
            os.close(descriptor)
        os.truncate(self._file, struct.unpack("i", block)[0] * _BLOCK_BYTES)

    def become_read_only(self) -> None:
        """Let the kernel find an error in the file system, which makes it read-only until it is mounted again."""
        [device] = [line.split()[0] for line in Path("/proc/mounts").read_text().splitlines() if self._where_is(line)]
        Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("a test's")

    def _where_is(self, mount: str) -> bool:
        return mount.split()[1] == str(self._where)

    def mount_anew(self) -> None:
        """Mount the file system again, as after a start of the host. No file may be open."""
        _unmount(self._where)
        _mount(self._where, *_LOOP, str(self._file))

    def mend(self) -> None:
        """Restore the content that `keep` saved. No file may be open."""
        _unmount(self._where)
        self._file.write_bytes(self._whole)
        _mount(self._where, *_LOOP, str(self._file))
