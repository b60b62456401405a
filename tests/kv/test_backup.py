"""Which files a store is restored from, and with which limits; all of it said before a Ray is asked for anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

import kv
from kv.limits import Limits, encode_settings
from raft_actors.application import settings as application_settings
from raft_actors.application.fields import pack_fields
from raft_actors.application.host import STATE_FORMAT
from raft_actors.application.settings import ApplicationSettings, SessionLimits
from raft_actors.codec import cluster_id_of
from raft_actors.core.entries import Configuration, Genesis, Member, SnapshotMeta
from raft_actors.core.types import GENESIS_ID, DirectoryId, EntryId, LogIndex, MemberId, Term
from raft_actors.errors import (
    BackupDamaged,
    BackupForeign,
    BackupNewer,
    BackupRefused,
    ConfigError,
    InvalidName,
    RayNotInitialised,
)
from raft_actors.storage.backups import BackupWriter
from raft_actors.storage.records import Identity
from raft_actors.storage.snapshot_records import SnapshotHeader

MEMBERS = (Member(member_id=MemberId(0), directory_id=DirectoryId(b"A" * 16), voter=True),)
LIMITS = Limits(value_bytes_max=2048)
SESSIONS = SessionLimits(sessions_max=7)
STATE = b"".join(pack_fields([STATE_FORMAT, 5, 1]))


def settings_of(machine: bytes) -> bytes:
    return application_settings.encode_settings(ApplicationSettings(sessions=SESSIONS, machine=machine))


def saved(path: Path, settings: bytes, state: bytes = STATE) -> str:
    genesis = Genesis(
        cluster_id=cluster_id_of("old", MEMBERS, settings),
        group="old",
        configuration=Configuration(members=MEMBERS),
        settings=settings,
    )
    meta = SnapshotMeta(
        last=EntryId(Term(1), LogIndex(5)),
        stamp_ms=0,
        configuration_id=GENESIS_ID,
        configuration=genesis.configuration,
    )
    identity = Identity(directory_id=MEMBERS[0].directory_id, group="old", member_id=MemberId(0))
    writer = BackupWriter(
        str(path / "file"), SnapshotHeader(identity=identity, genesis=genesis, meta=meta), replace=True
    )
    writer.write(state)
    writer.commit()
    return str(path / "file")


@pytest.fixture(autouse=True)
def nothing_else_is_written(tmp_path: Path) -> Iterator[None]:
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"file"}


def restore(path: str, **options: object) -> None:
    kv.restore_snapshot(path, "new", **options)  # type: ignore[arg-type]


class TestAFile:
    def test_of_a_store_is_restored_with_its_limits_where_there_is_a_ray(self, tmp_path: Path) -> None:
        seen: list[int] = []
        file = saved(tmp_path, settings_of(encode_settings(LIMITS)))
        for config in (None, kv.Config(), kv.Config(limits=LIMITS, sessions=SESSIONS)):
            with pytest.raises(RayNotInitialised):
                restore(file, config=config, verified=seen.append)
        assert seen == [len(STATE)] * 3

    def test_is_not_restored_with_other_limits(self, tmp_path: Path) -> None:
        file = saved(tmp_path, settings_of(encode_settings(LIMITS)))
        for config in (kv.Config(limits=Limits(value_bytes_max=9)), kv.Config(sessions=SessionLimits(sessions_max=9))):
            with pytest.raises(ConfigError, match="are those of the file"):
                restore(file, config=config)

    def test_of_another_state_machine_is_refused(self, tmp_path: Path) -> None:
        for machine in (b"", b"\x80", b"counter"):
            with pytest.raises(BackupForeign, match="another state machine than the key-value store"):
                restore(saved(tmp_path, settings_of(machine)))
        with pytest.raises(BackupForeign):
            restore(saved(tmp_path, b"limits"))
        with pytest.raises(BackupForeign):
            restore(saved(tmp_path, settings_of(encode_settings(LIMITS)), b"\x01"))

    def test_of_a_newer_machine_or_host_is_refused(self, tmp_path: Path) -> None:
        newer = msgpack.unpackb(encode_settings(LIMITS)) | {"machine_version": 99}
        with pytest.raises(BackupNewer, match="machine version 99"):
            restore(saved(tmp_path, settings_of(msgpack.packb(newer))))
        state = b"".join(pack_fields(["raft-actors state 9", 5, 1]))
        with pytest.raises(BackupNewer, match="upgrade raft-actors"):
            restore(saved(tmp_path, settings_of(encode_settings(LIMITS)), state))

    def test_that_is_not_whole_is_refused_before_anything_is_asked(self, tmp_path: Path) -> None:
        file = Path(saved(tmp_path, settings_of(encode_settings(LIMITS))))
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(BackupDamaged):
            restore(str(file))
        with pytest.raises(BackupRefused, match="cannot be read: No such file"):
            restore(str(tmp_path / "none"))

    def test_is_not_restored_under_an_odd_name(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidName):
            kv.restore_snapshot(saved(tmp_path, settings_of(encode_settings(LIMITS))), "a/b")
