"""A directory founded from a state (ADR 14): whole or not there, whenever the process or the machine stops."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raft_actors.codec import successor_cluster_id, supersedes
from raft_actors.core.entries import Command, Configuration, Member, Noop
from raft_actors.core.settings import CoreSettings
from raft_actors.core.state import State
from raft_actors.core.types import GENESIS_ID, VACANT, DirectoryId, EntryId, LogIndex, MemberId, Term
from raft_actors.errors import CannotRecover, StorageError
from raft_actors.storage.files import OsFiles
from raft_actors.storage.founding import Founded, Founding, Origin, Place, found_in_place_of, is_founded, settle
from raft_actors.storage.interface import Recovered
from raft_actors.storage.place import ASIDE_SUFFIX, FOUNDING_SUFFIX
from raft_actors.storage.visit import is_between_two, look_into, peek_identity
from raft_actors.storage.wal import FileStorage
from tests.storage.faulty_files import (
    PATH,
    FaultyFiles,
    Keep,
    MachineStopped,
    everything,
    first,
    nothing,
    only_sizes,
    some,
)
from tests.storage.logs import (
    CONFIGURATION,
    GENESIS,
    GROUP,
    MEMBER,
    append,
    command,
    entry,
    meta,
    read_snapshot,
    state_at,
    take_snapshot,
    vote,
)

PLACES = tuple(MemberId(number) for number in range(3))
ORIGIN = Origin(cluster_id=GENESIS.cluster_id, settings=b"limits", places=PLACES, snapshot=meta(2, 3))
BEHIND = (command(2, 4, 300), entry(3, 5, CONFIGURATION), command(3, 6, 500))
KEPT = (command(2, 4, 300), entry(3, 5), command(3, 6, 500))


class Beside(Place):
    """The one directory of the file system that fails."""

    @property
    def beside(self) -> str:
        return PATH


FAULTY = Beside(path=PATH + ".place", group=GROUP, member_id=MEMBER, segment_bytes_max=600, allow_unsafe_data_dir=False)


def place_at(folder: Path) -> Place:
    return Place(
        path=str(folder / "group" / "0"),
        group=GROUP,
        member_id=MEMBER,
        segment_bytes_max=600,
        allow_unsafe_data_dir=True,
    )


def found(place: Place, files: FaultyFiles | None = None) -> Founding:
    """Not as a context: a machine that has stopped does nothing more."""
    founding = Founding(place, ORIGIN, files=files)
    for chunk in state_at(3):
        founding.write(chunk)
    founding.finish(BEHIND, Term(7))
    return founding


def check_whole(storage: FileStorage) -> None:
    """All of it, as `found` wrote it, and the peer can begin with it."""
    held = storage.recovered
    assert held.genesis is not None
    assert (held.hard_state, held.base, held.entries) == (vote(7), EntryId(Term(2), LogIndex(3)), KEPT)
    assert held.snapshot is not None
    assert held.snapshot.configuration == held.genesis.configuration
    assert held.snapshot.configuration_id == GENESIS_ID
    assert held.snapshot.stamp_ms == ORIGIN.snapshot.stamp_ms if ORIGIN.snapshot else None
    assert read_snapshot(storage, 3) == state_at(3)
    begin(held)


def begin(held: Recovered) -> State:
    assert held.genesis is not None
    return State.restore(
        settings=CoreSettings(),
        member_id=MEMBER,
        incarnation=held.incarnation,
        genesis=held.genesis,
        hard_state=held.hard_state,
        entries=held.entries,
        base=held.base,
        snapshot=held.snapshot,
    )


# -- on a file system that loses what was not synced ------------------------------------------------------------------


def call_count() -> int:
    files = FaultyFiles()
    found(FAULTY, files)
    return len(files.calls)


CALLS = call_count()


def keeps(dice: random.Random) -> Iterator[Keep]:
    yield from (nothing, everything, only_sizes, first(1), first(3), some(dice), some(dice))


@pytest.mark.slow
class TestCrashesWhileItIsWritten:
    """The term comes last, so a directory that has one has everything."""

    @pytest.mark.parametrize("number", range(CALLS + 1))
    def test_what_a_stop_leaves_is_no_founded_directory_or_a_whole_one(self, number: int) -> None:
        files = FaultyFiles(seed=number)
        files.stop_at = number
        if number < CALLS:
            with pytest.raises(MachineStopped):
                found(FAULTY, files)
        else:
            found(FAULTY, files)
        founded = 0
        for keep in keeps(random.Random(number)):
            after = files.copy()
            after.power_cut(keep)
            founded += self.look(after)
        killed = files.copy()
        killed.kill()
        founded += self.look(killed)
        assert founded == 8 or number < CALLS, "what was finished did not last"

    @staticmethod
    def look(files: FaultyFiles) -> bool:
        storage = FAULTY.open(PATH, files)
        if not is_founded(storage.recovered):
            return False
        check_whole(storage)
        return True

    @pytest.mark.parametrize("number", range(CALLS))
    def test_an_error_of_the_disk_is_no_end(self, number: int) -> None:
        files = FaultyFiles(seed=number)
        files.fail_at = number
        try:
            found(FAULTY, files)
        except (StorageError, OSError):
            files.power_cut(everything)
            self.look(files)
        else:
            assert files.calls[number].startswith("unlink"), f"{files.calls[number]} failed, and nobody noticed"


# -- on the disk ------------------------------------------------------------------------------------------------------


class TestADirectory:
    def test_belongs_to_another_cluster_of_one_voter_and_vacant_places(self, tmp_path: Path) -> None:
        place = place_at(tmp_path)
        founding = found(place)
        assert not os.path.lexists(place.path)
        settle(place)
        storage = place.open(place.path)
        check_whole(storage)
        mine = storage.recovered.incarnation.directory_id
        genesis = storage.recovered.genesis
        assert genesis == founding.genesis
        assert genesis.configuration == Configuration(
            members=(
                Member(member_id=MemberId(0), directory_id=mine, voter=True),
                Member(member_id=MemberId(1), directory_id=VACANT, voter=False),
                Member(member_id=MemberId(2), directory_id=VACANT, voter=False),
            )
        )
        assert supersedes(genesis, GENESIS)
        assert begin(storage.recovered).configurations.in_force == genesis.configuration
        storage.close()

    def test_without_a_snapshot_begins_with_the_first_entry(self, tmp_path: Path) -> None:
        place = place_at(tmp_path)
        origin = Origin(cluster_id=GENESIS.cluster_id, settings=b"", places=PLACES[:1], snapshot=None)
        with Founding(place, origin) as founding:
            founding.finish((), Term(0))
        settle(place)
        storage = place.open(place.path)
        assert (storage.recovered.entries, storage.recovered.snapshot) == ((), None)
        assert storage.recovered.hard_state == vote(1)
        assert is_founded(storage.recovered)
        begin(storage.recovered)
        storage.close()

    def test_comes_only_to_an_empty_place(self, tmp_path: Path) -> None:
        place = place_at(tmp_path)
        found(place)
        os.mkdir(place.path)
        with pytest.raises(FileExistsError):
            settle(place)
        assert os.listdir(place.path) == []

    def test_has_its_name_for_good(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both names stand in the directory above, which is synced after the change."""
        place = place_at(tmp_path)
        found(place)
        calls: list[str] = []
        rename, sync = OsFiles.rename, OsFiles.sync

        def watched_rename(files: OsFiles, directory: int, old: str, new: str) -> None:
            calls.append(f"{old} to {new}")
            rename(files, directory, old, new)

        def watched_sync(files: OsFiles, descriptor: int) -> None:
            calls.append(f"sync {os.readlink(f'/proc/self/fd/{descriptor}')}")
            sync(files, descriptor)

        monkeypatch.setattr(OsFiles, "rename", watched_rename)
        monkeypatch.setattr(OsFiles, "sync", watched_sync)
        settle(place)
        assert calls == ["0.founding to 0", f"sync {os.path.dirname(place.path)}"]

    def test_that_came_to_no_end_leaves_nothing(self, tmp_path: Path) -> None:
        place = place_at(tmp_path)
        with pytest.raises(KeyError), Founding(place, ORIGIN):
            raise KeyError
        assert list((tmp_path / "group").iterdir()) == []

    def test_two_have_different_clusters(self, tmp_path: Path) -> None:
        ids = {found(place_at(tmp_path / str(number))).genesis.cluster_id for number in range(3)}
        assert len(ids) == 3


def old_directory(place: Place) -> tuple[DirectoryId, tuple[bytes, ...]]:
    """One with a snapshot, entries behind it, a change of membership, and a term above them; and what it holds."""
    storage = place.open(place.path)
    storage.write_genesis(GENESIS)
    storage.write([vote(2), append(entry(1, 1), command(1, 2), command(2, 3))])
    take_snapshot(storage, 2, 3)
    storage.write([append(command(2, 4), entry(2, 5, CONFIGURATION), command(2, 6))])
    storage.write([vote(9, DirectoryId(b"B" * 16))])
    storage.close()
    return storage.recovered.incarnation.directory_id, (
        b"",
        command(2, 4).payload.data,
        b"",
        command(2, 6).payload.data,
    )


def holds(storage: FileStorage) -> list[Any]:
    """What an application would be given."""
    covered = storage.recovered.snapshot.last.index if storage.recovered.snapshot else 0
    behind = [each for each in storage.recovered.entries if each.index > covered]
    commands = [(each.id, each.payload.data if isinstance(each.payload, Command) else b"") for each in behind]
    return [covered, read_snapshot(storage, covered), commands]


class TestInPlaceOfAnotherOne:
    def test_goes_on_with_all_that_the_other_held(self, tmp_path: Path) -> None:
        place = place_at(tmp_path)
        before, _ = old_directory(place)
        founded = found_in_place_of(place, lambda: place.open(place.path))
        assert founded.aside == place.path + ASIDE_SUFFIX
        assert (founded.places, founded.settings, founded.last_index) == ((0, 1, 2, 3), b"limits", 6)
        new, old = place.open(place.path), place.open(founded.aside)
        assert old.recovered.incarnation.directory_id == before
        assert holds(new) == holds(old)
        assert new.recovered.incarnation.directory_id != before
        assert new.recovered.hard_state == vote(9)
        assert new.recovered.genesis is not None
        assert new.recovered.genesis.cluster_id == founded.cluster_id
        assert supersedes(new.recovered.genesis, GENESIS)
        assert [each.payload for each in new.recovered.entries][1] == Noop()
        state = begin(new.recovered)
        assert state.configurations.in_force == new.recovered.genesis.configuration
        new.close()
        old.close()

    def test_one_that_is_empty_or_was_removed_is_refused_and_stays(self, tmp_path: Path) -> None:
        place = place_at(tmp_path)
        with pytest.raises(CannotRecover, match="has no data directory at"):
            found_in_place_of(place, lambda: place.open(place.path))
        place.open(place.path).close()
        with pytest.raises(CannotRecover, match="never belonged to a cluster"):
            found_in_place_of(place, lambda: place.open(place.path))
        storage = place.open(place.path)
        storage.write_genesis(GENESIS)
        without = Configuration(members=CONFIGURATION.members[1:])
        storage.write([vote(1), append(entry(1, 1, without))])
        storage.close()
        with pytest.raises(CannotRecover, match="was removed from it"):
            found_in_place_of(place, lambda: place.open(place.path))
        assert os.listdir(tmp_path / "group") == ["0"]

    def test_what_it_holds_can_be_looked_at_before(self, tmp_path: Path) -> None:
        place = place_at(tmp_path)
        old_directory(place)
        names = {path.name: path.read_bytes() for path in Path(place.path).iterdir() if path.name != "LOCK"}
        seen = look_into(place.path, group=GROUP, member_id=MEMBER)
        assert (seen.last, seen.snapshot_index, seen.stopped) == (EntryId(Term(2), LogIndex(6)), 3, None)
        assert seen.cluster == GENESIS.cluster_id.hex()
        assert {path.name: path.read_bytes() for path in Path(place.path).iterdir() if path.name != "LOCK"} == names


CHANGES = ("make_directory", "write", "sync", "sync_data", "rename", "link", "unlink")


class Steps:
    """Stops this process's disk for good at one of its changes."""

    def __init__(self) -> None:
        self.count = 0
        self.stop_at: int | None = None

    def step(self) -> None:
        if self.stop_at is not None and self.count >= self.stop_at:
            raise MachineStopped(f"step {self.count}")
        self.count += 1

    @contextmanager
    def watched(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        def counted(change: Any) -> Any:
            def call(*arguments: Any, **named: Any) -> Any:
                self.step()
                return change(*arguments, **named)

            return call

        with patch.context() as these:
            for name in CHANGES:
                these.setattr(OsFiles, name, counted(getattr(OsFiles, name)))
            these.setattr(os, "rename", counted(os.rename))
            these.setattr(shutil, "rmtree", counted(shutil.rmtree))
            yield


@pytest.mark.slow
class TestKilledAtEachStep:
    def test_the_old_directory_or_the_new_one_and_another_attempt_ends_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number, between = 0, 0
        while True:
            place = place_at(tmp_path / str(number))
            before, _ = old_directory(place)
            steps = Steps()
            steps.stop_at = number
            with steps.watched(monkeypatch):
                try:
                    found_in_place_of(place, lambda place=place: place.open(place.path))  # type: ignore[misc]
                    break
                except MachineStopped:
                    pass
            there = peek_identity(place.path, group=GROUP, member_id=MEMBER)
            assert (there is None) == is_between_two(place.path)
            between += there is None
            if there == before:
                assert not os.path.exists(place.path + ASIDE_SUFFIX)
            else:
                assert peek_identity(place.path + ASIDE_SUFFIX, group=GROUP, member_id=MEMBER) == before
            founded: Founded = found_in_place_of(place, lambda place=place: place.open(place.path))  # type: ignore[misc]
            storage = place.open(place.path)
            assert storage.recovered.genesis is not None
            assert founded.cluster_id == storage.recovered.genesis.cluster_id != GENESIS.cluster_id
            assert founded.last_index == 6
            covered, state, commands = holds(storage)
            assert (covered, state) == (3, state_at(3))
            assert [data for _, data in commands] == [
                command(2, 4).payload.data,  # type: ignore[union-attr]
                b"",
                command(2, 6).payload.data,  # type: ignore[union-attr]
            ]
            storage.close()
            assert not os.path.exists(place.path + FOUNDING_SUFFIX)
            shutil.rmtree(tmp_path / str(number))
            number += 1
        assert number > 20
        assert between >= 1

    def test_of_what_comes_from_a_file_nothing_is_there_or_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number = 0
        while True:
            place = place_at(tmp_path / str(number))
            steps = Steps()
            steps.stop_at = number
            with steps.watched(monkeypatch):
                try:
                    found(place)
                    settle(place)
                    break
                except MachineStopped:
                    pass
            if not os.path.exists(place.path):
                found(place)
                settle(place)
            storage = place.open(place.path)
            check_whole(storage)
            storage.close()
            assert not os.path.exists(place.path + FOUNDING_SUFFIX)
            number += 1
        assert number > 20


def test_a_successor_is_seen_by_whoever_has_both_records(tmp_path: Path) -> None:
    genesis = found(place_at(tmp_path)).genesis
    later = found_in_cluster_of(genesis.cluster_id, tmp_path)
    assert supersedes(genesis, GENESIS)
    assert supersedes(later, genesis)
    assert not supersedes(GENESIS, genesis)
    assert not supersedes(genesis, genesis)
    assert not supersedes(later, GENESIS), "only the next one is told"


def found_in_cluster_of(cluster_id: bytes, folder: Path) -> Any:
    origin = Origin(cluster_id=cluster_id, settings=b"limits", places=PLACES, snapshot=None)
    with Founding(place_at(folder / "later"), origin) as founding:
        founding.finish((), Term(1))
    members = founding.genesis.configuration.members
    assert founding.genesis.cluster_id == successor_cluster_id(cluster_id, GROUP, members, b"limits")
    return founding.genesis
