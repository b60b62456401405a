"""Two threads with one storage: the log's, and the one that writes snapshots, on this machine's file system."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raft_actors.core.types import LogIndex
from raft_actors.storage.files import OsFiles
from raft_actors.storage.wal import FileStorage
from tests.storage.logs import GENESIS, GROUP, MEMBER, append, command, meta, take_snapshot


class WatchedFiles(OsFiles):
    """This machine; tells when the directory or a file is about to be synced."""

    before_sync: Callable[[], None] | None = None

    def sync(self, descriptor: int) -> None:
        watch, self.before_sync = self.before_sync, None
        if watch is not None:
            watch()
        super().sync(descriptor)


class TestTwoThreads:
    def open(self, tmp_path: Path) -> tuple[FileStorage, WatchedFiles]:
        files = WatchedFiles()
        path = str(tmp_path / "group" / "0")
        storage = FileStorage.open(path, group=GROUP, member_id=MEMBER, segment_bytes_max=1, files=files)
        storage.write_genesis(GENESIS)
        storage.write([append(*(command(1, index) for index in range(1, 9)))])
        return storage, files

    def test_none_syncs_the_names_of_the_other(self, tmp_path):
        """Else a sync that fails for the one says ok to the other, whose file is gone after a power cut."""
        storage, files = self.open(tmp_path)
        sink = storage.begin_snapshot(meta(1, 3))
        committed = threading.Thread(target=sink.commit, daemon=True)

        def in_between() -> None:  # the log's new file is being made, and its name is not synced
            committed.start()
            committed.join(0.3)
            assert not sink.committed, "the snapshot's commit syncs a directory that is the log's just now"

        files.before_sync = in_between
        storage.write([append(command(1, 9))])
        committed.join(10)
        assert sink.committed
        storage.close()

    def test_looking_for_names_disturbs_nobody_who_does(self, tmp_path):
        storage, _ = self.open(tmp_path)
        take_snapshot(storage, 1, 3)
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                storage.open_snapshot(LogIndex(3)).close()

        with ThreadPoolExecutor(2) as pool:
            reading = [pool.submit(read) for _ in range(2)]
            try:
                for _ in range(1_000):
                    storage.compact(LogIndex(3))
            finally:
                stop.set()
            for each in reading:
                each.result(10)
        storage.close()
