"""A data directory seen from outside its peer: whose it is, and its end, for which its lock is needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raft_actors.core.effects import HardState, Record
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.errors import DirectoryLocked, StorageFailed
from raft_actors.storage.visit import delete_beside, delete_directory, holds_anything, peek_identity, set_aside
from raft_actors.storage.wal import FileStorage
from tests.storage.logs import GROUP, MEMBER, append, command


def open_at(path: Path) -> FileStorage:
    return FileStorage.open(
        str(path), group=GROUP, member_id=MEMBER, segment_bytes_max=1 << 20, allow_unsafe_data_dir=True
    )


def delete(path: Path, *, group: str = GROUP, member_id: MemberId = MEMBER) -> bool:
    return delete_directory(str(path), group=group, member_id=member_id, allow_unsafe_data_dir=True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "group" / "member-0"


class TestDeletion:
    def test_is_refused_while_a_process_of_the_member_lives_and_takes_nothing(self, place: Path) -> None:
        storage = open_at(place)
        storage.write([append(command(1, 1))])
        with pytest.raises(DirectoryLocked):
            delete(place)
        storage.write([append(command(1, 2))])
        storage.close()
        again = open_at(place)
        assert again.recovered.entries == (command(1, 1), command(1, 2))
        again.close()

    def test_leaves_nothing(self, place: Path) -> None:
        open_at(place).close()
        assert delete(place)
        assert not place.parent.exists()
        assert not delete(place)

    @pytest.mark.parametrize(("group", "member_id"), [("other", MEMBER), (GROUP, MemberId(1))])
    def test_is_of_ones_own_directory_only(self, place: Path, group: str, member_id: MemberId) -> None:
        open_at(place).close()
        assert not delete(place, group=group, member_id=member_id)
        assert peek_identity(str(place), group=GROUP, member_id=MEMBER) is not None


class TestPeeking:
    def test_says_whose_it_is_while_it_is_in_use(self, place: Path) -> None:
        assert peek_identity(str(place), group=GROUP, member_id=MEMBER) is None
        storage = open_at(place)
        assert peek_identity(str(place), group=GROUP, member_id=MEMBER) == storage.recovered.incarnation.directory_id
        assert peek_identity(str(place), group="other", member_id=MEMBER) is None
        storage.close()


class TestWhetherItIsEmpty:
    """What was never promised anything may be taken for a vacant place, and need not be set aside (ADR 13)."""

    def test_starts_alone_are_nothing(self, place: Path) -> None:
        for _ in range(3):
            open_at(place).close()
        assert not holds_anything(str(place))

    @pytest.mark.parametrize(
        "record", [append(command(1, 1)), HardState(term=1, voted_for=None)], ids=["an entry", "a term"]
    )
    def test_a_record_is_something_while_it_is_being_written_and_afterwards(self, place: Path, record: Record) -> None:
        storage = open_at(place)
        storage.write([record])
        assert holds_anything(str(place))
        storage.close()
        open_at(place).close()
        assert holds_anything(str(place))

    def test_so_is_a_snapshot(self, place: Path) -> None:
        open_at(place).close()
        (place / "snap-00000000000000000001-00000001.snap").write_bytes(b"")
        assert holds_anything(str(place))


class TestSettingAside:
    """ADR 13: what lies in a vacant place gets another name, and only if it is what was seen there."""

    def test_makes_room_for_an_empty_one_and_keeps_what_was_there(self, place: Path) -> None:
        storage = open_at(place)
        storage.write([append(command(1, 1))])
        storage.close()
        before = storage.recovered.incarnation.directory_id
        aside = set_aside(str(place), group=GROUP, member_id=MEMBER, directory_id=before)
        assert aside is not None
        again = open_at(place)
        assert again.recovered.incarnation.directory_id != before
        assert again.recovered.entries == ()
        again.close()
        old = open_at(Path(aside))
        assert old.recovered.entries == (command(1, 1),)
        old.close()

    def test_is_of_the_directory_that_was_named_alone(self, place: Path) -> None:
        open_at(place).close()
        before = peek_identity(str(place), group=GROUP, member_id=MEMBER)
        for other in (DirectoryId(b"another director"), None):
            assert set_aside(str(place), group=GROUP, member_id=MEMBER, directory_id=other) is None
        assert peek_identity(str(place), group=GROUP, member_id=MEMBER) == before

    def test_one_that_does_not_say_whose_it_is(self, place: Path) -> None:
        open_at(place).close()
        (place / "IDENTITY").write_bytes(b"rot")
        assert set_aside(str(place), group=GROUP, member_id=MEMBER, directory_id=None) is not None
        assert not place.exists()
        assert set_aside(str(place), group=GROUP, member_id=MEMBER, directory_id=None) is None

    def test_a_zombie_does_its_successor_no_harm_and_acknowledges_nothing(self, place: Path) -> None:
        """Its lock is not in the way, what it writes lies aside, and it learns that before it could tell anybody."""
        zombie = open_at(place)
        mine = zombie.recovered.incarnation.directory_id
        assert set_aside(str(place), group=GROUP, member_id=MEMBER, directory_id=mine) is not None
        successor = open_at(place)
        with pytest.raises(StorageFailed, match="another one is in its place"):
            zombie.write([append(command(1, 1))])
        successor.write([append(command(2, 1))])
        zombie.close()
        successor.close()
        again = open_at(place)
        assert again.recovered.entries == (command(2, 1),)
        again.close()

    @pytest.mark.parametrize("taken_away", [shutil.rmtree, lambda path: path.rename(path.with_name("elsewhere"))])
    def test_a_directory_that_is_taken_away_holds_nothing(
        self, place: Path, taken_away: Callable[[Path], object]
    ) -> None:
        """A sync into a removed directory succeeds, and no start will find what was written."""
        storage = open_at(place)
        storage.write([append(command(1, 1))])
        taken_away(place)
        with pytest.raises(StorageFailed, match="its directory was removed"):
            storage.write([append(command(1, 2))])
        with pytest.raises(StorageFailed):
            storage.write([append(command(1, 2))])
        storage.close()

    def test_there_is_one_at_most(self, place: Path) -> None:
        for _ in range(3):
            storage = open_at(place)
            storage.close()
            mine = storage.recovered.incarnation.directory_id
            assert set_aside(str(place), group=GROUP, member_id=MEMBER, directory_id=mine) is not None
        assert [path.name for path in place.parent.iterdir()] == [place.name + ".aside"]
        delete_beside(str(place))
        delete_beside(str(place))
        assert not place.parent.exists()
