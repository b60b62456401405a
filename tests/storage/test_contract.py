"""The storage contract, kept by the files on this machine's disk, by the files on the faulty one, and by the fake."""

from __future__ import annotations

import os

import pytest

from raft_actors.core.types import DirectoryId
from raft_actors.storage.files import OsFiles
from raft_actors.storage.memory import MemoryDisk, MemoryStorage
from raft_actors.storage.wal import FileStorage
from tests.storage.contract import StorageContract
from tests.storage.faulty_files import PATH, FaultyFiles
from tests.storage.logs import GROUP, MEMBER

TMPFS, RAMFS = 0x01021994, 0x858458F6


class BreakableOsFiles(OsFiles):
    """This machine, with a disk that can be told to fail its syncs."""

    broken = False

    def sync_data(self, descriptor):
        self._fail_if_broken()
        super().sync_data(descriptor)

    def sync(self, descriptor):
        self._fail_if_broken()
        super().sync(descriptor)

    def _fail_if_broken(self):
        if self.broken:
            raise OSError(5, "Input/output error")


class TestFileStorage(StorageContract):
    """On a real disk; one that forgets would hide what these tests are for."""

    @pytest.fixture(autouse=True)
    def _disk(self, tmp_path):
        self.files = BreakableOsFiles()
        descriptor = os.open(tmp_path, os.O_RDONLY)
        kind = self.files.filesystem_type(descriptor)
        os.close(descriptor)
        assert kind not in (TMPFS, RAMFS), f"{tmp_path} is on tmpfs: run pytest with --basetemp on a disk"
        self.path = str(tmp_path / "group" / "0")
        self.opened = []
        yield
        for storage in self.opened:
            self.crash(storage)

    def open(self, *, group=GROUP, member_id=MEMBER):
        storage = FileStorage.open(self.path, group=group, member_id=member_id, segment_bytes_max=700, files=self.files)
        self.opened.append(storage)
        return storage

    def crash(self, storage):
        if not storage._closed:
            storage._closed = True
            storage._close_segment()
            storage._directory.close()

    def break_disk(self):
        self.files.broken = True

    def mend_disk(self):
        self.files.broken = False


class TestFileStorageOnFaultyFiles(StorageContract):
    """The same code over the file system that the crash tests use: so that one is held to the contract too."""

    @pytest.fixture(autouse=True)
    def _disk(self):
        self.files = FaultyFiles()
        self.files.short_writes = True

    def open(self, *, group=GROUP, member_id=MEMBER):
        return FileStorage.open(PATH, group=group, member_id=member_id, segment_bytes_max=700, files=self.files)

    def crash(self, storage):
        self.files.kill()

    def break_disk(self):
        self.files.fail_at = len(self.files.calls)

    def mend_disk(self):
        self.files.fail_at = None


class TestMemoryStorage(StorageContract):
    """The fake earns its place by passing the real one's tests."""

    @pytest.fixture(autouse=True)
    def _disk(self):
        self.disk = MemoryDisk(directory_id=DirectoryId(b"d" * 16))

    def open(self, *, group=GROUP, member_id=MEMBER):
        return MemoryStorage.open(self.disk, group=group, member_id=member_id)

    def crash(self, storage):
        storage.crash()

    def break_disk(self):
        self.disk.broken = True

    def mend_disk(self):
        self.disk.broken = False
