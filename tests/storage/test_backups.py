"""Backup files: what was saved is read again, anything else is refused with the reason; a file is whole or not there.

`RAFT_GOLDEN_REWRITE=1 pytest tests/storage/test_backups.py` writes the golden file anew (docs/FORMATS.md).
"""

from __future__ import annotations

import errno
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raft_actors.core.types import EntryId, LogIndex, Term
from raft_actors.errors import (
    AlreadyThere,
    BackupDamaged,
    BackupFailed,
    BackupForeign,
    BackupNewer,
    BackupRefused,
    RaftActorsError,
)
from raft_actors.storage import records
from raft_actors.storage.backups import BackupReader, BackupWriter, header_of
from raft_actors.storage.records import SEGMENT_HEADER, SNAPSHOT_HEADER, Identity, encode_frame
from raft_actors.storage.snapshot_records import SnapshotHeader, encode_header
from raft_actors.storage.wal import FileStorage
from tests.storage.logs import GENESIS, GROUP, MEMBER, OTHER, append, command, entry, meta, take_snapshot, vote

GOLDEN = Path(__file__).parent / "golden" / "backup" / "test.backup"
HEADER = SnapshotHeader(
    identity=Identity(directory_id=OTHER, group=GROUP, member_id=MEMBER), genesis=GENESIS, meta=meta(2, 4)
)
CHUNKS = (b"the state, ", b"in two pieces")


def write(path: Path, *, replace: bool = False) -> None:
    writer = BackupWriter(str(path), HEADER, replace=replace)
    for chunk in CHUNKS:
        writer.write(chunk)
    assert writer.size == sum(map(len, CHUNKS))
    writer.commit()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "saved.backup"
    write(path)
    return path


def refusal(path: Path) -> BackupRefused:
    """Why nothing is restored from it; all of it was looked at."""
    with pytest.raises(BackupRefused) as caught:
        BackupReader(str(path)).verify()
    assert str(path) in str(caught.value)
    return caught.value


class TestWhatIsSaved:
    def test_can_be_read_and_is_nobody_elses_to_read(self, file: Path) -> None:
        reader = BackupReader(str(file))
        assert (reader.said, tuple(reader.chunks()), reader.verify()) == (HEADER, CHUNKS, 24)
        reader.close()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [path.name for path in file.parent.iterdir()] == [file.name]

    def test_is_as_it_ever_was(self, file: Path) -> None:
        if os.environ.get("RAFT_GOLDEN_REWRITE"):
            GOLDEN.parent.mkdir(exist_ok=True)
            GOLDEN.write_bytes(file.read_bytes())
        assert GOLDEN.read_bytes() == file.read_bytes()

    def test_is_said_by_a_member_as_the_file_begins(self, file: Path) -> None:
        record = encode_header(HEADER)[0]
        assert file.read_bytes().startswith(record)
        assert header_of(record) == HEADER
        for broken in (record[:-1], record + b"x", b"", record[:30] + b"x" + record[31:]):
            with pytest.raises(BackupForeign):
                header_of(broken)

    def test_is_what_a_snapshot_file_of_a_member_holds(self, tmp_path: Path) -> None:
        """Of a member that is lost, its newest one is as good."""
        storage = FileStorage.open(
            str(tmp_path / "0"), group=GROUP, member_id=MEMBER, segment_bytes_max=600, allow_unsafe_data_dir=True
        )
        storage.write_genesis(GENESIS)
        storage.write([vote(1), append(entry(1, 1), command(1, 2))])
        take_snapshot(storage, 1, 2)
        storage.close()
        (name,) = (tmp_path / "0").glob("*.snap")
        reader = BackupReader(str(name))
        assert reader.said.genesis == GENESIS
        assert reader.said.meta == meta(1, 2)
        assert reader.verify() > 0
        reader.close()


class TestWhatIsRefused:
    @pytest.mark.slow
    def test_every_cut(self, file: Path) -> None:
        whole = file.read_bytes()
        for size in range(len(whole)):
            file.write_bytes(whole[:size])
            assert isinstance(refusal(file), BackupDamaged), size
        file.write_bytes(whole[: len(whole) // 2])
        assert "the file ends at byte" in str(refusal(file))

    @pytest.mark.slow
    def test_every_bit_that_changed(self, file: Path) -> None:
        whole = file.read_bytes()
        for at in range(len(whole)):
            for bit in range(8):
                file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
                assert isinstance(refusal(file), BackupDamaged if at >= 2 else BackupForeign), (at, bit)

    @pytest.mark.parametrize(
        "change",
        [
            lambda whole: whole + b"\0",
            lambda whole: whole + whole,
            lambda whole: whole[:-37] + whole[-74:-37] + whole[-37:],
            lambda whole: bytes(len(whole)),
        ],
        ids=["longer", "twice", "moved", "zeros"],
    )
    def test_what_was_added_or_moved(self, file: Path, change: Callable[[bytes], bytes]) -> None:
        file.write_bytes(change(file.read_bytes()))
        refusal(file)

    def test_a_newer_one(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as later:
            later.setattr(records, "FORMAT_VERSION", 2)
            data, _ = encode_frame(SNAPSHOT_HEADER, EntryId(Term(1), LogIndex(1)), b"nobody knows", 0)
        file.write_bytes(data)
        said = refusal(file)
        assert isinstance(said, BackupNewer)
        assert "has format 2" in str(said)
        assert "upgrade raft-actors" in str(said)

    def test_another_file_of_ours_and_one_of_anybody_else(self, file: Path) -> None:
        file.write_bytes(encode_frame(SEGMENT_HEADER, EntryId(Term(1), LogIndex(1)), b"a log", 0)[0])
        assert isinstance(refusal(file), BackupForeign)
        file.write_bytes(b"key,value\na,1\n")
        assert isinstance(refusal(file), BackupForeign)
        assert "`raft-kv snapshot save`" in str(refusal(file))
        file.write_bytes(b"")
        assert "the file ends at byte 0" in str(refusal(file))

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "none", tmp_path, tmp_path / "pipe"):
            assert "cannot be read" in str(refusal(path))


class TestTheName:
    """A file is there when all of it is on the disk, and what was there before stays until then."""

    def test_of_another_file_is_not_taken(self, file: Path) -> None:
        before = file.read_bytes()
        with pytest.raises(AlreadyThere, match=r"exists: give another name, or --force"):
            write(file)
        assert file.read_bytes() == before
        write(file, replace=True)
        assert [path.name for path in file.parent.iterdir()] == [file.name]

    @pytest.mark.parametrize("links", [True, False])
    def test_of_a_file_that_came_meanwhile_is_not_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
    ) -> None:
        if not links:
            monkeypatch.setattr(os, "link", failing(errno.EPERM))
        path = tmp_path / "saved"
        writer = BackupWriter(str(path), HEADER, replace=False)
        path.write_bytes(b"another's")
        with pytest.raises(AlreadyThere):
            writer.commit()
        assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"another's"]

    def test_is_given_where_there_are_no_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
        write(tmp_path / "saved")
        assert [path.name for path in tmp_path.iterdir()] == ["saved"]
        assert BackupReader(str(tmp_path / "saved")).verify() == 24

    @pytest.mark.parametrize("call", ["write", "fsync", "rename"])
    def test_is_not_given_when_the_disk_refuses(self, file: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        before = file.read_bytes()
        with monkeypatch.context() as full:
            full.setattr(os, call, failing(errno.ENOSPC))
            with pytest.raises(BackupFailed, match="No space left"):
                write(file, replace=True)
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        assert file.read_bytes() == before

    def test_in_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BackupFailed, match="No such file"):
            BackupWriter(str(tmp_path / "none" / "saved"), HEADER, replace=False)

    def test_of_what_was_abandoned_is_free(self, tmp_path: Path) -> None:
        writer = BackupWriter(str(tmp_path / "saved"), HEADER, replace=False)
        writer.write(b"half")
        writer.abandon()
        writer.abandon()
        assert not list(tmp_path.iterdir())

    def test_comes_after_the_sync_of_the_bytes_and_is_synced_itself(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        sync, link = os.fsync, os.link

        def watched_sync(descriptor: int) -> None:
            kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
            calls.append(f"sync {kind}")
            sync(descriptor)

        def watched_link(*names: str) -> None:
            calls.append("name")
            link(*names)

        monkeypatch.setattr(os, "fsync", watched_sync)
        monkeypatch.setattr(os, "link", watched_link)
        write(tmp_path / "saved")
        assert calls == ["sync file", "name", "sync folder"]


def failing(code: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize(
    "cls",
    [AlreadyThere, BackupFailed, BackupRefused, BackupDamaged, BackupForeign, BackupNewer],
    ids=lambda c: c.__name__,
)
def test_refusals_travel(cls: type[RaftActorsError]) -> None:
    error = cls("what to do", path="f")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.details) == (cls, "what to do", {"path": "f"})
