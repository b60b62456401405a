"""Who may use a data directory, and what a refusal leaves behind: a sentence that says what to do, and no change."""

from __future__ import annotations

import os
import pickle
import pickletools
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from raft_actors.core.types import MemberId
from raft_actors.errors import (
    DirectoryLocked,
    DirectoryNotWritable,
    ForeignDirectory,
    LogDamaged,
    NewerFormat,
    StorageError,
    StorageFailed,
    UnsafeDirectory,
)
from raft_actors.storage import records
from raft_actors.storage.directory import clear_stopped, read_stopped, write_stopped
from raft_actors.storage.files import OsFiles, Status
from raft_actors.storage.wal import FileStorage
from tests.storage.logs import GENESIS, GROUP, MEMBER, append, command, vote


def open_at(path: Path | str, *, group: str = GROUP, member_id: int = MEMBER, files=None, allow=False) -> FileStorage:
    return FileStorage.open(
        str(path),
        group=group,
        member_id=MemberId(member_id),
        segment_bytes_max=1 << 20,
        allow_unsafe_data_dir=allow,
        files=files,
    )


def everything_below(path: Path) -> dict[str, tuple[int, bytes | None]]:
    """Names, modes and contents of all that is at and below a path."""
    return {
        str(each): (each.lstat().st_mode, each.read_bytes() if each.is_file() and not each.is_symlink() else None)
        for each in sorted([path, *path.rglob("*")])
    }


def refused(path: Path, error: type[StorageError], *, root: Path, **options) -> StorageError:
    """The directory is refused with this error, and nothing at all is changed below `root`."""
    before = everything_below(root)
    with pytest.raises(error) as caught:
        open_at(path, **options)
    assert everything_below(root) == before, "a refusal changed something"
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message
    return caught.value


class PretendingFiles(OsFiles):
    """This machine, lying about one thing."""

    def __init__(self, *, filesystem: int | None = None, user: int | None = None) -> None:
        self._filesystem, self._user = filesystem, user

    def filesystem_type(self, descriptor):
        return super().filesystem_type(descriptor) if self._filesystem is None else self._filesystem

    def user(self):
        return super().user() if self._user is None else self._user


class TestPlace:
    """Where data is not safe, none is put (DESIGN 5)."""

    def test_missing_directories_are_made(self, tmp_path):
        open_at(tmp_path / "a" / "b" / "0").close()
        assert (tmp_path / "a" / "b" / "0" / "IDENTITY").is_file()

    def test_a_symbolic_link_is_refused(self, tmp_path):
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "link").symlink_to("real")
        assert "real path" in str(refused(tmp_path / "link", UnsafeDirectory, root=tmp_path))
        refused(tmp_path / "link", UnsafeDirectory, root=tmp_path, allow=True)

    def test_a_file_in_the_place_is_refused(self, tmp_path):
        (tmp_path / "0").write_text("mine")
        refused(tmp_path / "0", DirectoryNotWritable, root=tmp_path)
        refused(tmp_path / "0" / "below", DirectoryNotWritable, root=tmp_path)

    def test_another_owner_is_refused(self, tmp_path):
        (tmp_path / "0").mkdir(mode=0o700)
        refused(tmp_path / "0", UnsafeDirectory, root=tmp_path, files=PretendingFiles(user=4242), allow=True)

    def test_open_permissions_are_refused(self, tmp_path):
        (tmp_path / "0").mkdir()
        (tmp_path / "0").chmod(0o750)
        assert "chmod 700" in str(refused(tmp_path / "0", UnsafeDirectory, root=tmp_path, allow=True))

    def test_a_parent_that_anybody_may_write_to_is_refused_unless_allowed(self, tmp_path):
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        refused(tmp_path / "open" / "0", UnsafeDirectory, root=tmp_path)
        refused(tmp_path / "open" / "group" / "0", UnsafeDirectory, root=tmp_path)
        open_at(tmp_path / "open" / "1", allow=True).close()
        (tmp_path / "open").chmod(0o1777)
        open_at(tmp_path / "open" / "0").close()

    @pytest.mark.parametrize("kind", [0x01021994, 0x858458F6, 0x6969, 0xFF534D42, 0x65735546])
    def test_file_systems_that_forget_or_share_are_refused_unless_allowed(self, tmp_path, kind):
        files = PretendingFiles(filesystem=kind)
        assert "allow_unsafe_data_dir" in str(refused(tmp_path / "0", UnsafeDirectory, root=tmp_path, files=files))
        open_at(tmp_path / "0", files=files, allow=True).close()

    @pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this machine has no tmpfs to ask")
    def test_a_real_tmpfs_is_recognised(self):
        descriptor = os.open("/dev/shm", os.O_RDONLY)
        try:
            assert OsFiles().filesystem_type(descriptor) == 0x01021994
        finally:
            os.close(descriptor)

    def test_what_the_system_forbids_is_a_named_error(self, tmp_path):
        class Forbidding(OsFiles):
            def make_directory(self, path):
                raise PermissionError(13, "Permission denied")

        assert "give another data_dir" in str(
            refused(tmp_path / "0", DirectoryNotWritable, root=tmp_path, files=Forbidding())
        )


class TestModes:
    """Directories 0700, files 0600, whatever the umask (security point 5)."""

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
    def test_modes_do_not_depend_on_the_umask(self, tmp_path, umask):
        before = os.umask(umask)
        try:
            storage = open_at(tmp_path / "group" / "0")
            storage.write_genesis(GENESIS)
            storage.close()
            write_stopped(str(tmp_path / "group" / "0"), "why")
        finally:
            os.umask(before)
        for each in [tmp_path / "group", *(tmp_path / "group").rglob("*")]:
            wanted = 0o700 if each.is_dir() else 0o600
            assert stat.S_IMODE(each.stat().st_mode) == wanted, each

    def test_a_file_open_to_others_is_refused(self, tmp_path):
        open_at(tmp_path / "0").close()
        (tmp_path / "0" / "log-00000001.seg").chmod(0o644)
        with pytest.raises(UnsafeDirectory, match="chmod 600"):
            open_at(tmp_path / "0")

    @pytest.mark.parametrize("name", ["LOCK", "IDENTITY", "log-00000001.seg"])
    def test_a_link_in_the_place_of_a_file_is_not_followed(self, tmp_path, name):
        open_at(tmp_path / "0").close()
        (tmp_path / "0" / name).rename(tmp_path / "elsewhere")
        (tmp_path / "0" / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UnsafeDirectory):
            open_at(tmp_path / "0")

    @pytest.mark.parametrize("name", ["LOCK", "IDENTITY", "log-00000001.seg"])
    def test_a_pipe_in_the_place_of_a_file_does_not_hold_us(self, tmp_path, name):
        open_at(tmp_path / "0").close()
        (tmp_path / "0" / name).unlink()
        os.mkfifo(tmp_path / "0" / name, 0o600)
        with pytest.raises(UnsafeDirectory):
            open_at(tmp_path / "0")


class TestLock:
    """One process at a time: a zombie writer is kept out by the lock (reliability F16)."""

    def test_the_refusal_says_who_holds_it(self, tmp_path):
        storage = open_at(tmp_path / "0")
        with pytest.raises(DirectoryLocked) as caught:
            open_at(tmp_path / "0")
        assert f"process {os.getpid()}, member 0 of group test" in str(caught.value)
        assert caught.value.holder == f"process {os.getpid()}, member 0 of group test"
        storage.close()
        open_at(tmp_path / "0").close()

    @pytest.mark.slow
    def test_a_killed_process_gives_it_free(self, tmp_path):
        program = (
            "import sys; from raft_actors.storage.wal import FileStorage;"
            f"s = FileStorage.open({str(tmp_path / '0')!r}, group={GROUP!r}, member_id=0, segment_bytes_max=9999);"
            "from tests.storage.logs import *; s.write([vote(3, OTHER), append(command(1, 1))]);"
            "print('up', flush=True); sys.stdin.read()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with holder:
            assert holder.stdout.readline() == "up\n"
            with pytest.raises(DirectoryLocked, match=f"process {holder.pid}"):
                open_at(tmp_path / "0")
            os.kill(holder.pid, signal.SIGKILL)
        storage = open_at(tmp_path / "0")
        assert storage.recovered.entries == (command(1, 1),)
        assert storage.recovered.hard_state.term == 3
        assert storage.recovered.incarnation.start_count == 2
        storage.close()


class TestIdentity:
    """A directory knows whose it is; the question comes before the lock, and changes nothing."""

    def test_of_another_group_or_member(self, tmp_path):
        open_at(tmp_path / "0").close()
        text = str(refused(tmp_path / "0", ForeignDirectory, root=tmp_path, group="other"))
        assert "member 0 of group 'test'" in text
        refused(tmp_path / "0", ForeignDirectory, root=tmp_path, member_id=1)

    def test_of_a_newer_version(self, tmp_path, monkeypatch):
        monkeypatch.setattr(records, "FORMAT_VERSION", 2)
        open_at(tmp_path / "0").close()
        monkeypatch.undo()
        assert "upgrade raft-actors" in str(refused(tmp_path / "0", NewerFormat, root=tmp_path))

    def test_a_newer_segment_is_not_touched(self, tmp_path, monkeypatch):
        open_at(tmp_path / "0").close()
        identity = (tmp_path / "0" / "IDENTITY").read_bytes()
        monkeypatch.setattr(records, "FORMAT_VERSION", 2)
        (tmp_path / "0" / "log-00000001.seg").unlink()
        storage = open_at(tmp_path / "0")
        storage.close()
        monkeypatch.undo()
        (tmp_path / "0" / "IDENTITY").write_bytes(identity)
        refused(tmp_path / "0", NewerFormat, root=tmp_path)

    def test_missing_beside_a_log_is_damage(self, tmp_path):
        open_at(tmp_path / "0").close()
        (tmp_path / "0" / "IDENTITY").unlink()
        with pytest.raises(LogDamaged, match="IDENTITY is missing"):
            open_at(tmp_path / "0")

    def test_every_directory_draws_its_own(self, tmp_path):
        drawn = set()
        for number in range(5):
            storage = open_at(tmp_path / str(number))
            drawn.add(storage.recovered.incarnation.directory_id)
            storage.close()
        assert len(drawn) == 5


class TestStopped:
    """Why a member stopped, for whoever looks next."""

    def test_written_read_and_cleared(self, tmp_path):
        path = str(tmp_path)
        assert read_stopped(path) is None
        write_stopped(path, "log-00000001.seg is damaged")
        write_stopped(path, "and again")
        assert read_stopped(path) == "and again"
        clear_stopped(path)
        assert read_stopped(path) is None
        clear_stopped(path)

    def test_no_directory_no_reason(self, tmp_path):
        assert read_stopped(str(tmp_path / "none")) is None

    def test_a_long_reason_is_cut(self, tmp_path):
        write_stopped(str(tmp_path), "x" * 1_000_000)
        assert len(read_stopped(str(tmp_path)) or "") == 64 * 1024

    def test_it_may_be_written_while_the_directory_is_locked_and_does_not_stop_an_open(self, tmp_path):
        storage = open_at(tmp_path / "0")
        write_stopped(str(tmp_path / "0"), "why")
        storage.close()
        open_at(tmp_path / "0").close()
        assert read_stopped(str(tmp_path / "0")) == "why"


class TestNothingStaysOpen:
    def test_neither_after_a_close_nor_after_a_refusal(self, tmp_path):
        def descriptors() -> int:
            return len(os.listdir("/proc/self/fd"))

        before = descriptors()
        storage = open_at(tmp_path / "0")
        storage.write([vote(1)])
        with pytest.raises(DirectoryLocked):
            open_at(tmp_path / "0")
        storage.close()
        with pytest.raises(ForeignDirectory):
            open_at(tmp_path / "0", member_id=1)
        segment = next((tmp_path / "0").glob("log-*.seg"))
        data = bytearray(segment.read_bytes())
        data[3] ^= 1
        segment.write_bytes(data)
        with pytest.raises(LogDamaged):
            open_at(tmp_path / "0")
        assert descriptors() == before


class TestNoPickle:
    """Nothing persisted is a pickle, and nothing persisted is ever unpickled (security point 1)."""

    def test_replaying_unpickles_nothing(self, tmp_path, monkeypatch):
        def never(*_args, **_options):
            raise AssertionError("unpickled")

        storage = open_at(tmp_path / "0")
        storage.write_genesis(GENESIS)
        storage.write([vote(1), append(command(1, 1))])
        storage.close()
        for name in ("loads", "load", "Unpickler"):
            monkeypatch.setattr(pickle, name, never)
        storage = open_at(tmp_path / "0")
        assert storage.recovered.genesis == GENESIS
        storage.close()

    def test_no_file_is_a_pickle(self, tmp_path):
        storage = open_at(tmp_path / "0")
        storage.write_genesis(GENESIS)
        storage.close()
        for each in (tmp_path / "0").iterdir():
            with pytest.raises(ValueError, match=r"."):
                list(pickletools.genops(each.read_bytes()))


class TestDiskFull:
    def test_a_full_disk_while_opening_is_worth_another_try(self, tmp_path):
        class Full(OsFiles):
            full = True

            def write(self, descriptor, data, offset):
                if self.full:
                    raise OSError(28, "No space left on device")
                return super().write(descriptor, data, offset)

        files = Full()
        with pytest.raises(StorageFailed, match="No space left"):
            open_at(tmp_path / "0", files=files)
        files.full = False
        open_at(tmp_path / "0", files=files).close()


def test_a_status_is_what_stat_says(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    found = OsFiles().lstat(str(tmp_path / "file"))
    assert isinstance(found, Status)
    assert (found.size, found.uid) == (5, os.geteuid())
