"""The seam between the storage and the operating system: few calls, each as narrow as we need it.

Here:   `Files`, what the storage asks of a system, and `OsFiles`, which passes it on.
Never:  decisions. What is safe, what is retried and what an error means stands in directory.py and wal.py.

Files are opened relative to the descriptor of their directory, so that a directory renamed or replaced under us is not
followed. All calls raise OSError and nothing else. A test's file system that loses, tears and refuses writes implements
the same protocol, and so runs the product's own code.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

CREATE_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL
OPEN_OR_CREATE: Final = os.O_RDWR | os.O_CREAT
READ: Final = os.O_RDONLY

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `stat` says, as far as it matters here."""

    mode: int
    """Type and permission bits, as in `st_mode`."""
    uid: int
    size: int
    """Bytes."""
    identity: tuple[int, int]
    """Device and inode: the same for what is the same, whatever its name."""


class Room(NamedTuple):
    """Bytes of a file system."""

    free: int
    """What our user may still write."""
    total: int


class Files(Protocol):
    """What the storage asks of an operating system."""

    def user(self) -> int:
        """The user that we act as."""
        ...

    def process(self) -> int:
        """Our process id, for people to read."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Unpredictable bytes."""
        ...

    def real_path(self, path: str) -> str:
        """The absolute path without symbolic links."""
        ...

    def lstat(self, path: str) -> Status:
        """Status of what is at the path itself, not of what a link there points to."""
        ...

    def make_directory(self, path: str) -> None:
        """One new directory, mode 0700 whatever the umask; its parent exists."""
        ...

    def open_directory(self, path: str) -> int:
        """Descriptor of a directory that is not a symbolic link."""
        ...

    def open(self, directory: int, name: str, flags: int) -> int:
        """Descriptor of a file. Never follows a symbolic link; a file created gets mode 0600 whatever the umask."""
        ...

    def close(self, descriptor: int) -> None: ...

    def fstat(self, descriptor: int) -> Status: ...

    def filesystem_type(self, descriptor: int) -> int:
        """`f_type` of statfs(2); 0 where the system does not say."""
        ...

    def room(self, descriptor: int) -> Room:
        """Of the file system of an open file or directory."""
        ...

    def list_names(self, directory: int) -> list[str]:
        """Names in the directory, in any order; in any thread."""
        ...

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset`; fewer do not mean the end, none does."""
        ...

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """How many bytes were written at `offset`; may be fewer than given."""
        ...

    def sync_data(self, descriptor: int) -> None:
        """fdatasync: the file's bytes and its size are durable."""
        ...

    def sync(self, descriptor: int) -> None:
        """fsync of a file, or of a directory: names created, renamed and removed in it are durable."""
        ...

    def rename(self, directory: int, old: str, new: str) -> None:
        """Atomic; replaces `new`."""
        ...

    def link(self, directory: int, old: str, new: str) -> None:
        """A second name for a file; `new` must not exist."""
        ...

    def unlink(self, directory: int, name: str) -> None: ...

    def lock(self, descriptor: int) -> bool:
        """Take the file's exclusive lock, without waiting. False: another one has it. It ends with the descriptor."""
        ...


class OsFiles:
    """`Files` of this machine."""

    def user(self) -> int:
        return os.geteuid()

    def process(self) -> int:
        return os.getpid()

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def real_path(self, path: str) -> str:
        return os.path.realpath(path)

    def lstat(self, path: str) -> Status:
        return _status(os.lstat(path))

    def make_directory(self, path: str) -> None:
        os.mkdir(path, DIRECTORY_MODE)
        os.chmod(path, DIRECTORY_MODE)  # a umask may have taken our own bits

    def open_directory(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def open(self, directory: int, name: str, flags: int) -> int:
        # O_NONBLOCK: a named pipe in the place of a file must not hold us for ever; plain files ignore it.
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        if not flags & os.O_CREAT:
            return os.open(name, flags, dir_fd=directory)
        try:
            descriptor = os.open(name, flags | os.O_EXCL, FILE_MODE, dir_fd=directory)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            return os.open(name, flags & ~os.O_CREAT, dir_fd=directory)
        os.fchmod(descriptor, FILE_MODE)
        return descriptor

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def fstat(self, descriptor: int) -> Status:
        return _status(os.fstat(descriptor))

    def filesystem_type(self, descriptor: int) -> int:
        if sys.platform != "linux":
            return 0
        answer = (ctypes.c_long * 32)()  # struct statfs is 120 bytes here; its first field is f_type
        if _LIBC.fstatfs(descriptor, answer) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return int(answer[0]) & 0xFFFFFFFF

    def room(self, descriptor: int) -> Room:
        answer = os.fstatvfs(descriptor)
        return Room(free=answer.f_bavail * answer.f_frsize, total=answer.f_blocks * answer.f_frsize)

    def list_names(self, directory: int) -> list[str]:
        # A descriptor has one read position, which listdir would share with another thread that lists.
        own = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            return os.listdir(own)
        finally:
            os.close(own)

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        return os.pread(descriptor, size, offset)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def sync_data(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def rename(self, directory: int, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)

    def link(self, directory: int, old: str, new: str) -> None:
        os.link(old, new, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)

    def unlink(self, directory: int, name: str) -> None:
        os.unlink(name, dir_fd=directory)

    def lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as refusal:
            if refusal.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        return True


_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _status(answer: os.stat_result) -> Status:
    return Status(mode=answer.st_mode, uid=answer.st_uid, size=answer.st_size, identity=(answer.st_dev, answer.st_ino))


def read_all(files: Files, descriptor: int, size: int, offset: int = 0) -> bytes:
    """`size` bytes of a file from `offset`, or fewer if it ends before. Raises OSError."""
    parts: list[bytes] = []
    at, end = offset, offset + size
    while at < end and (part := files.read(descriptor, end - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def write_all(files: Files, descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write until everything is written: one call may write less. Raises OSError."""
    rest = memoryview(data)
    while rest:
        count = files.write(descriptor, rest, offset)
        if count <= 0:
            raise OSError(errno.EIO, "a write wrote nothing")
        rest = rest[count:]
        offset += count
