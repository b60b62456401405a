"""Who reads a snapshot has a place of his own in its file, for as long as he asks, and gets no other snapshot."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from raft_actors.application.slices import INLINE_BYTES_MAX, Slice, SliceRequest, checked
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.types import DirectoryId, LogIndex, Term
from raft_actors.errors import SnapshotDamaged, SnapshotGone
from raft_actors.peer.shelf import IDLE_MS_MAX, READERS_MAX, SnapshotShelf
from tests.core.builders import CLUSTER_ID, directory, snapshot

STATE = random.Random(7).randbytes(200)
PIECE_BYTES = 30


class Source:
    """A file that is read; `damaged`: its third piece is."""

    def __init__(self, files: Files, meta: SnapshotMeta, *, damaged: bool) -> None:
        self._files = files
        self.meta = meta
        self._damaged = damaged

    def chunks(self) -> Iterator[bytes]:
        for at in range(0, len(STATE), PIECE_BYTES):
            if self._damaged and at == 2 * PIECE_BYTES:
                raise SnapshotDamaged("its third piece is damaged", file="")
            self._files.pieces_read += 1
            yield STATE[at : at + PIECE_BYTES]

    def close(self) -> None:
        self._files.open_count -= 1
        assert self._files.open_count >= 0, "closed twice"


class Files:
    """A disk with the snapshots 8 and 12, its clock, and who has what open."""

    def __init__(self) -> None:
        self.metas = {8: snapshot(1, 8), 12: snapshot(2, 12)}
        self.open_count = self.opened_count = self.pieces_read = self.at_ms = 0
        self.damaged = False

    def now_ms(self) -> int:
        return self.at_ms

    def open(self, index: LogIndex) -> Source:
        if index not in self.metas:
            raise SnapshotGone("a newer one is there", file="")
        self.open_count, self.opened_count = self.open_count + 1, self.opened_count + 1
        return Source(self, self.metas[index], damaged=self.damaged)


def asking(
    offset: int, *, asker: DirectoryId | None = None, index: int = 8, term: int = 1, by_reference: bool = True
) -> SliceRequest:
    return SliceRequest(
        cluster_id=CLUSTER_ID,
        asker=asker or directory(3),
        term=Term(term),
        index=LogIndex(index),
        offset=offset,
        bytes_max=0,  # what counts is what the runtime makes of it
        by_reference=by_reference,
    )


class Shelf(SnapshotShelf):
    """With its files, and reads that must bring something."""

    def __init__(self) -> None:
        self.files = Files()
        super().__init__(self.files.open, self.files)

    def slice(self, offset: int, bytes_max: int, *, asker: DirectoryId | None = None) -> tuple[Slice, bytes]:
        found = self.read(asking(offset, asker=asker), bytes_max)
        assert found is not None
        assert found[0].offset == offset
        return found

    def all_from(self, offset: int, bytes_max: int, *, asker: DirectoryId | None = None) -> bytes:
        """Everything from there on, slice by slice."""
        read, ends = b"", False
        while not ends:
            slice_, data = self.slice(offset + len(read), bytes_max, asker=asker)
            read += b"".join(checked(slice_, memoryview(data)))
            ends = slice_.ends
        return read


class TestReading:
    @pytest.mark.parametrize("bytes_max", [1, 29, 30, 64, 199, 200, 201])
    def test_slice_by_slice_it_gives_the_file(self, bytes_max: int) -> None:
        shelf = Shelf()
        assert shelf.all_from(0, bytes_max) == STATE
        assert (shelf.files.opened_count, shelf.files.pieces_read) == (1, 7), "read once, from one end to the other"

    def test_each_slice_says_of_which_snapshot_it_is(self) -> None:
        assert Shelf().slice(0, 50)[0].last == snapshot(1, 8).last

    def test_readers_do_not_disturb_each_other(self) -> None:
        shelf, read = Shelf(), {directory(n): b"" for n in range(3)}
        for round_ in range(200):
            for turn, asker in enumerate(read):
                if round_ % (turn + 1) == 0 and len(read[asker]) < len(STATE):
                    read[asker] += shelf.slice(len(read[asker]), 10 + turn, asker=asker)[1]
        assert set(read.values()) == {STATE}
        assert shelf.files.opened_count == 3

    def test_a_slice_that_was_lost_is_given_again_without_the_file(self) -> None:
        shelf = Shelf()
        shelf.slice(0, 60)
        first, pieces = shelf.slice(60, 60), shelf.files.pieces_read
        assert shelf.slice(60, 60) == first
        assert (shelf.files.pieces_read, shelf.files.opened_count) == (pieces, 1)

    def test_it_is_given_in_smaller_parts_and_then_what_is_behind_it(self) -> None:
        """The object store was full: the same bytes, as much as an answer may hold."""
        shelf = Shelf()
        shelf.slice(0, 60)
        parts = [shelf.slice(offset, 25)[1] for offset in (0, 25, 50)]
        assert b"".join(parts) == STATE[:60]
        assert shelf.all_from(60, 25) == STATE[60:]
        assert shelf.files.opened_count == 1

    @pytest.mark.parametrize("offset", [1, 30, 59, 61, 199, 200])
    def test_one_who_goes_on_elsewhere_is_given_what_is_there(self, offset: int) -> None:
        """It began with another process of this peer; or he has asked for something behind, and asks for it again."""
        shelf = Shelf()
        assert shelf.all_from(offset, 60) == STATE[offset:]
        shelf = Shelf()
        shelf.all_from(0, 60)
        assert shelf.all_from(offset, 60) == STATE[offset:]
        assert shelf.files.open_count == 1

    @pytest.mark.parametrize("offset", [201, 10**12])
    def test_nothing_is_behind_the_end(self, offset: int) -> None:
        assert Shelf().read(asking(offset), 60) is None

    def test_what_is_inline_is_no_other(self) -> None:
        assert len(STATE) < INLINE_BYTES_MAX
        assert Shelf().read(asking(0, by_reference=False), INLINE_BYTES_MAX) == Shelf().slice(0, 500)


class TestWhichSnapshot:
    def test_one_that_is_gone_is_not_there(self) -> None:
        assert Shelf().read(asking(0, index=7), 60) is None

    def test_one_of_another_term_is_another_one(self) -> None:
        """C10: the same index says nothing about what is in it."""
        shelf = Shelf()
        assert shelf.read(asking(0, term=2), 60) is None
        assert shelf.files.open_count == 0
        shelf.slice(0, 60)
        assert shelf.read(asking(60, term=2), 60) is None
        assert shelf.files.open_count == 0

    def test_who_asks_for_another_one_begins_there(self) -> None:
        shelf = Shelf()
        shelf.slice(0, 60)
        found = shelf.read(asking(60, index=12, term=2), 60)
        assert found is not None
        assert (found[0].last, found[0].offset, found[1]) == (snapshot(2, 12).last, 60, STATE[60:120])
        assert shelf.files.open_count == 1

    def test_a_file_that_is_removed_is_read_to_its_end(self) -> None:
        """C18: whoever has it open does not lose it."""
        shelf = Shelf()
        shelf.slice(0, 60)
        del shelf.files.metas[8]
        assert shelf.all_from(60, 60) == STATE[60:]
        assert shelf.read(asking(0, asker=directory(4)), 60) is None


class TestADamagedFile:
    """C15. The peer ends; until it has, nobody is told that the file ends where it broke."""

    @pytest.mark.parametrize("begun", [True, False])
    def test_it_raises_each_time(self, begun: bool) -> None:
        shelf = Shelf()
        shelf.files.damaged = True
        if begun:
            assert not shelf.slice(0, 60)[0].ends
        for offset in (60, 60, 0, 0, 90):
            with pytest.raises(SnapshotDamaged):
                shelf.read(asking(offset), 500)
        assert shelf.files.open_count == 0


class TestHowManyAreOpen:
    def test_who_has_not_read_for_longest_loses_his_place_and_begins_anew(self) -> None:
        shelf = Shelf()
        for number in range(READERS_MAX):
            shelf.slice(0, 60, asker=directory(number))
        shelf.slice(60, 60, asker=directory(0))
        shelf.slice(0, 60, asker=directory(READERS_MAX))
        assert shelf.files.open_count == READERS_MAX
        assert shelf.files.opened_count == READERS_MAX + 1
        assert shelf.all_from(120, 60, asker=directory(0)) == STATE[120:]
        assert shelf.files.opened_count == READERS_MAX + 1
        assert shelf.all_from(60, 60, asker=directory(1)) == STATE[60:]
        assert shelf.files.opened_count == READERS_MAX + 2

    def test_who_asks_no_more_is_gone(self) -> None:
        shelf = Shelf()
        shelf.slice(0, 60, asker=directory(1))
        shelf.slice(0, 60, asker=directory(2))
        shelf.files.at_ms = IDLE_MS_MAX - 1
        shelf.sweep()
        assert shelf.files.open_count == 2
        shelf.slice(60, 60, asker=directory(2))
        shelf.files.at_ms = IDLE_MS_MAX
        shelf.sweep()
        assert shelf.files.open_count == 1
        shelf.slice(120, 60, asker=directory(2))
        assert shelf.files.opened_count == 2

    def test_a_closed_shelf_has_nothing_open_and_gives_nothing(self) -> None:
        shelf = Shelf()
        shelf.slice(0, 60)
        shelf.close(1.0)
        assert shelf.files.open_count == 0
        assert shelf.read(asking(60), 60) is None
        assert shelf.files.opened_count == 1
        shelf.close(1.0)
