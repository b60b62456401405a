"""A data directory seen from outside its peer: whose it is, and its end, for which its lock is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_actors.core.types import MemberId
from raft_actors.errors import DirectoryLocked
from raft_actors.storage.visit import delete_directory, peek_identity
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
