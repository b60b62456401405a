"""A file system that can lose its power: ext4 on a loop device, cut by the file system's own shutdown call.

Here:   `CutDisk`: make, mount, cut, mount again, check, and leave nothing behind, however the process ends.
Never:  any device but the loop device that it made; mounts that another process could see.

`EXT4_IOC_SHUTDOWN` stops the file system at once: with NOLOGFLUSH the journal's running transaction and all dirty pages
are gone at the next mount, as after a power cut; with LOGFLUSH the journal is written first, so names and sizes survive
whose data does not; with DEFAULT everything is written. Every later call of the process fails with EIO.

The mounts live in a mount namespace of the process, the image in a tmpfs there, and the loop device clears itself with
its last user: the kernel removes all of it when the process ends, even by SIGKILL.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

from tests.campaigns.outcome import ROOT

_SIZE_BYTES: Final = 64 << 20
"""Sparse, in memory. The workload of an image writes far less."""

_EXT4_IOC_SHUTDOWN: Final = 0x8004587D  # _IOR('X', 125, u32)
_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_LOOP_CONFIG: Final = struct.Struct("=II 5Q 4I 64s64s32s 2Q 64x")  # struct loop_config of linux/loop.h
_LO_FLAGS_AUTOCLEAR: Final = 4
_CLONE_NEWNS: Final = 0x00020000
_MS_REC_PRIVATE: Final = (1 << 14) | (1 << 18)
_LOOP_TRIES: Final = 20
_TOOL_TIMEOUT_S: Final = 30

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Cut(IntEnum):
    """What is written at the moment of the cut; the values are those of linux/ext4.h."""

    DEFAULT = 0
    LOGFLUSH = 1
    NOLOGFLUSH = 2


class BadFileSystem(Exception):
    """The file system itself is not consistent after it was mounted again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """How the file system is made and mounted."""

    block_bytes: int
    options: str

    @classmethod
    def drawn(cls, dice: random.Random) -> Make:
        """Journals that order data after metadata and such that do not; replacing a file by renaming with and without
        the help that ext4 gives to programs that forget to sync (auto_da_alloc)."""
        options = ["commit=300", dice.choice(["data=ordered", "data=ordered", "data=writeback", "data=journal"])]
        if "data=journal" not in options:
            options.append(dice.choice(["delalloc", "delalloc", "nodelalloc"]))
        options.append(dice.choice(["auto_da_alloc", "noauto_da_alloc"]))
        return cls(block_bytes=dice.choice([1024, 4096]), options=",".join(options))


def static_obstacle() -> str | None:
    """Why this process cannot make such a disk, as far as one can see without trying."""
    if sys.platform != "linux":
        return "real power cuts need Linux"
    if os.geteuid() != 0:
        return "real power cuts need root, to mount a loop device"
    for tool in ("mkfs.ext4", "e2fsck"):
        if shutil.which(tool) is None:
            return f"real power cuts need {tool} (package e2fsprogs)"
    if not Path("/dev/loop-control").exists():
        return "real power cuts need loop devices, and /dev/loop-control is missing"
    return None


def obstacle() -> str | None:
    """Why such a disk cannot be made, mounted, cut and mounted again here; None when one was."""
    reason = static_obstacle()
    if reason is not None:
        return reason
    trial = "from tests.power_cuts.disk import try_one; try_one()"  # apart, since it leaves this mount namespace
    ended = subprocess.run(
        [sys.executable, "-c", trial], cwd=ROOT, check=False, capture_output=True, text=True, timeout=_TOOL_TIMEOUT_S
    )
    if ended.returncode == 0:
        return None
    last_words = (ended.stderr.strip() or f"exit code {ended.returncode}").splitlines()[-1]
    return f"real power cuts need a system that permits them: {last_words}"


def try_one() -> None:
    """Make a disk, cut it, mount it again. Raises what stands in the way."""
    with CutDisk(Make(block_bytes=4096, options="data=ordered")) as disk:
        disk.cut(Cut.NOLOGFLUSH)
        disk.again()


class CutDisk:
    """A mounted ext4 of its own, as a context. Raises OSError where the system does not permit it."""

    def __init__(self, make: Make) -> None:
        self.make = make
        self._undo = ExitStack()
        self._device = -1
        self._device_path = ""
        self._root = -1
        """Descriptor of the mounted file system's root; open while it is mounted, for a cut without delay."""
        self.path = ""
        """Where it is mounted."""

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            _own_namespace()
            place = tempfile.mkdtemp(prefix="power-cuts-")
            undo.callback(os.rmdir, place)
            _mount("tmpfs", place, "tmpfs", f"size={2 * _SIZE_BYTES},mode=755")
            undo.callback(_unmount, place)
            image = f"{place}/image"
            with open(image, "wb") as file:
                file.truncate(_SIZE_BYTES)
            lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
            _tool(["mkfs.ext4", "-q", "-F", "-m", "0", "-b", str(self.make.block_bytes), "-E", lazy, image])
            self._device, self._device_path = _loop_device(image)
            undo.callback(os.close, self._device)
            self.path = f"{place}/disk"
            os.mkdir(self.path)
            self._mount()
            undo.callback(self._unmount_if_mounted)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def cut(self, how: Cut) -> None:
        """The power is gone. Whoever has files open gets EIO from now on."""
        fcntl.ioctl(self._root, _EXT4_IOC_SHUTDOWN, struct.pack("=I", how))

    def again(self) -> None:
        """Power is back: mounted anew, the journal replayed. Everybody must have closed their files."""
        self._unmount_if_mounted()
        self._mount()

    def check(self) -> bool:
        """Unmounted in order, looked through by e2fsck, mounted again. Raises `BadFileSystem`.

        False: nothing but a count of free inodes or blocks was wrong, and was mended. The shutdown call may leave that
        behind (Linux 6.18, a log flush beside an open transaction); it says nothing about any file.
        """
        self._unmount_if_mounted()
        try:
            _tool(["e2fsck", "-f", "-n", self._device_path])
        except subprocess.CalledProcessError as refusal:
            if not only_counts_differ(refusal.output):
                raise BadFileSystem(f"e2fsck -f -n: exit {refusal.returncode}\n{refusal.output}") from refusal
            _tool(["e2fsck", "-f", "-y", self._device_path], allowed=(0, 1))
            self._mount()
            return False
        self._mount()
        return True

    def _mount(self) -> None:
        _mount(self._device_path, self.path, "ext4", f"{self.make.options},noinit_itable")
        self._root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _unmount_if_mounted(self) -> None:
        if self._root != -1:
            os.close(self._root)
            self._root = -1
            _unmount(self.path)


def only_counts_differ(said: str) -> bool:
    """Whether e2fsck found inodes, directories and their connections all right: it complains in its last pass alone."""
    before, last_pass, _ = said.partition("Pass 5:")
    lines = [line for line in before.splitlines() if line.strip()]
    return bool(last_pass) and all(line.startswith(("e2fsck ", "Pass ")) for line in lines)


_namespace_owner = 0


def _own_namespace() -> None:
    """From here on nobody outside this process and its children sees what it mounts. Once per process."""
    global _namespace_owner  # noqa: PLW0603  a process has one mount namespace
    if _namespace_owner != os.getpid():
        _called(_LIBC.unshare(_CLONE_NEWNS), "unshare a mount namespace")
        _called(_LIBC.mount(None, b"/", None, _MS_REC_PRIVATE, None), "make its mounts private")
        _namespace_owner = os.getpid()


def _mount(source: str, target: str, kind: str, options: str) -> None:
    answer = _LIBC.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode())
    _called(answer, f"mount {kind} with {options}")


def _unmount(target: str) -> None:
    _called(_LIBC.umount2(target.encode(), 0), "unmount")


def _called(answer: int, what: str) -> None:
    if answer != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot {what}: {os.strerror(code)}")


def _loop_device(image: str) -> tuple[int, str]:
    """Descriptor and path of a free loop device, now backed by the image; it clears itself with its last user."""
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    place, numbers = (0, 0, 0, 0, 0), (0, 0, 0, _LO_FLAGS_AUTOCLEAR)
    config = _LOOP_CONFIG.pack(backing, 0, *place, *numbers, image.encode()[:63], b"", b"", 0, 0)
    try:
        for _ in range(_LOOP_TRIES):
            control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
            try:
                path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            finally:
                os.close(control)
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, config)
            except OSError as refusal:
                os.close(device)
                if refusal.errno != errno.EBUSY:  # another process was faster
                    raise
            else:
                return device, path
    finally:
        os.close(backing)
    raise OSError(errno.EBUSY, "no loop device became free")


def _tool(command: Sequence[str], *, allowed: tuple[int, ...] = (0,)) -> None:
    ended = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TOOL_TIMEOUT_S,
    )
    if ended.returncode not in allowed:
        raise subprocess.CalledProcessError(ended.returncode, command, output=ended.stdout)
