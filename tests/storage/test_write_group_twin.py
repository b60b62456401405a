"""A dumb twin of recovery: docs/FORMATS.md and the rules of recovery.py read once more, slowly, on random files.

Here:   `Twin`, which knows nothing of the product but its values and its codec of entries; random directories, intact,
        torn and damaged.
Never:  what a process does (campaigns/workload.py draws it).

The twin takes a file apart byte by byte, keeps every record that it ever saw in plain lists, and decides by asking,
for every place, "does anything behind it say that it was synced?". It repeats no line of the product.
"""

from __future__ import annotations

import random
import re
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raft_actors.codec import decode_entry, decode_genesis
from raft_actors.core.entries import Entry, Genesis
from raft_actors.errors import LogDamaged
from tests.storage.campaigns.oracle import Model
from tests.storage.campaigns.workload import Player, draw, open_storage
from tests.storage.faulty_files import FaultyFiles, everything, only_sizes, some

pytestmark = pytest.mark.slow

Files: TypeAlias = dict[str, bytes]


class Damaged(Exception):
    """Something says that these bytes were synced, and they are not what they were."""


@dataclass
class Record:
    """One record whose checksum holds; offsets are those of the file."""

    at: int
    kind: int
    index: int
    term: int
    body: bytes
    crc: int

    @property
    def end(self) -> int:
        return self.at + 28 + len(self.body)


@dataclass
class Group:
    """Header, records and trailer, all in their place."""

    records: list[Record]

    @property
    def end(self) -> int:
        return self.records[-1].end


@dataclass
class File:
    """One segment: its header, and the groups and marks that follow each other without a gap."""

    number: int
    data: bytes
    header: Record | None = None
    start_count: int = 0
    continues: tuple[int, int, int] = (0, 0, 0)
    opening_end: int = 0
    parts: list[Group | Record] = field(default_factory=list)

    @property
    def end(self) -> int:
        """How far it holds together."""
        return self.parts[-1].end if self.parts else (self.header.end if self.header else 0)

    @property
    def end_crc(self) -> int:
        """The checksum of the record before that place."""
        last = self.parts[-1] if self.parts else self.header
        return (last.records[-1] if isinstance(last, Group) else last).crc if last is not None else 0


def record_at(data: bytes, at: int, chain: int) -> Record | None:
    """magic 2, version 1, type 1, length 4, index 8, term 8, body, CRC32 of all that from the chain on."""
    head = data[at : at + 24]
    if len(head) < 24 or head[:3] != b"\xd7R\x01":
        return None
    kind, length, index, term = struct.unpack("<BIQQ", head[3:])
    body, tail = data[at + 24 : at + 24 + length], data[at + 24 + length : at + 28 + length]
    if len(body) < length or len(tail) < 4 or crc32(head + body, chain) != int.from_bytes(tail, "little"):
        return None
    return Record(at, kind, index, term, body, int.from_bytes(tail, "little"))


def mark_at(data: bytes, at: int, directory_id: bytes, number: int) -> Record | None:
    """A group header or a synced mark, which can be told without what is before it."""
    found = record_at(data, at, crc32(directory_id + struct.pack("<IQ", number, at)))
    return found if found is not None and found.kind in (2, 4) and len(found.body) == 4 else None


def group_at(data: bytes, header: Record) -> Group | None:
    """The whole group that this header begins."""
    records = [header]
    while True:
        found = record_at(data, records[-1].end, records[-1].crc)
        if found is None:
            return None
        records.append(found)
        if found.kind == 3:
            return Group(records)


class Twin:
    """What a start finds in these files. Slow."""

    def __init__(self, files: Files) -> None:
        self.directory_id = record_at(files["IDENTITY"], 0, 0).body[:16]  # type: ignore[union-attr]
        self.files = {
            int(name[4:12]): self._parse(int(name[4:12]), data)
            for name, data in files.items()
            if re.fullmatch(r"log-\d{8}\.seg", name)
        }

    def _parse(self, number: int, data: bytes) -> File:
        file = File(number, data)
        header = record_at(data, 0, 0)
        if header is None or header.kind != 1:
            return file
        file.header = header
        fields = struct.unpack_from("<16sIQIQB16sIQIQ", header.body)
        file.start_count, file.continues, file.opening_end = fields[2], fields[7:10], fields[10]
        last = header
        while (mark := mark_at(data, last.end, self.directory_id, number)) is not None:
            if int.from_bytes(mark.body, "little") != last.crc:
                break
            if mark.kind == 4:
                file.parts.append(mark)
                last = mark
                continue
            group = group_at(data, mark)
            if group is None:
                break
            file.parts.append(group)
            last = group.records[-1]
        return file

    def _says_synced(self, file: File, at: int) -> bool:
        """Whether a mark stands anywhere in the file from here on, however far from anything that holds together."""
        places = range(at, len(file.data))
        return any(mark_at(file.data, place, self.directory_id, file.number) is not None for place in places)

    def _breaks_at(self, file: File, at: int, chain: int, limit: int) -> int:
        """From a place to which all is well: the first byte that does not hold together with what is before it."""
        data = file.data[:limit]
        header = mark_at(data, at, self.directory_id, file.number)
        if header is None or header.kind != 2 or int.from_bytes(header.body, "little") != chain:
            return at
        last = header
        while (found := record_at(data, last.end, last.crc)) is not None:
            last = found
        return last.end

    def _counts(self, file: File) -> bool:
        """Header and opening are whole; else nothing behind what broke may be."""
        if file.header is None:
            broken_at = 0
        else:
            if file.opening_end == file.header.end:
                return True
            first = file.parts[0] if file.parts else None
            if isinstance(first, Group) and first.end == file.opening_end:
                return True
            broken_at = self._breaks_at(file, file.header.end, file.header.crc, file.opening_end)
        if self._says_synced(file, broken_at):
            raise Damaged
        return False

    def start(self) -> tuple[Model, int]:
        """The log, and the bytes that are torn. Raises `Damaged`."""
        numbers = sorted(self.files)
        later: list[File] = []
        while numbers and not self._counts(self.files[numbers[-1]]):
            later.append(self.files[numbers.pop()])
        way: list[File] = []
        number = numbers[-1] if numbers else 0
        while number:
            if number not in self.files or self.files[number].header is None:
                raise Damaged
            way.insert(0, self.files[number])
            number = way[0].continues[0]
        known = {0, *(file.number for file in way)}
        if any(file.header is not None and file.continues[0] not in known for file in later):
            raise Damaged
        torn = sum(len(file.data) for file in later if file.header is None)
        groups: list[Group] = []
        for file, after in pairwise([*way, None]):
            assert file is not None, "only the end is none"
            if after is not None:
                groups += self._up_to(file, *after.continues[1:])
                continue
            promised = max((each.continues[1] for each in later if each.continues[0] == file.number), default=0)
            broken_at = self._breaks_at(file, file.end, file.end_crc, len(file.data))
            if file.end < promised or (file.end < len(file.data) and self._says_synced(file, broken_at)):
                raise Damaged
            groups += [part for part in file.parts if isinstance(part, Group)]
            torn += len(file.data) - file.end
        return self._model(groups), torn

    def _up_to(self, file: File, end: int, chain: int) -> list[Group]:
        """The groups of an earlier file, all of which was synced up to here."""
        last = [part for part in [file.header, *file.parts] if part is not None and part.end == end]
        if not last:
            raise Damaged
        if (last[0].records[-1] if isinstance(last[0], Group) else last[0]).crc != chain:
            raise Damaged
        return [part for part in file.parts if isinstance(part, Group) and part.end <= end]

    def _model(self, groups: list[Group]) -> Model:
        """What the records add up to."""
        genesis: Genesis | None = None
        term, vote = 0, None
        entries: list[Entry] = []
        for group in groups:
            for record in group.records[1:-1]:
                if record.kind == 5:
                    genesis = decode_genesis(record.body)
                elif record.kind == 6:
                    term, vote = record.term, record.body[1:] if record.body[0] else None
                elif record.kind == 7:
                    entries.append(decode_entry(record.body))
                elif record.kind == 8:
                    del entries[record.index - 1 :]
        return Model(genesis=genesis, term=term, vote=vote, entries=tuple(entries))  # type: ignore[arg-type]


# -- both, side by side -----------------------------------------------------------------------------------------------


def left_behind(seed: int, step_count: int, stopped: bool) -> FaultyFiles:
    """What a drawn process leaves when it is killed, or when its machine stops in the middle of a call."""
    dice = random.Random(seed)
    files = FaultyFiles(seed=seed)
    player = Player(files, draw(dice, step_count, snapshots=False), dice=dice)
    player.play()
    if not stopped:
        files.kill()
        return files
    images: list[FaultyFiles] = []
    files, again = FaultyFiles(seed=seed), random.Random(seed)
    workload = draw(again, step_count, snapshots=False)
    files.watch = lambda _: images.append(_torn(files, dice))
    Player(files, workload, dice=again).play()
    return dice.choice(images)


def _torn(files: FaultyFiles, dice: random.Random) -> FaultyFiles:
    image = files.copy()
    if image.writing is not None:
        image.write_part(dice.randint(1, len(image.writing.data)))
    image.power_cut(dice.choice((everything, only_sizes, some(dice), some(dice))))
    return image


def damage(files: FaultyFiles, number: int, kind: str, place: float, value: int) -> None:
    """One change of one file of the log."""
    names = sorted(name for name in files.cached_names if name.endswith(".seg"))
    if not names:
        return
    name = names[number % len(names)]
    cache = files.cached_names[name].cache
    at = int(place * len(cache))
    match kind:
        case "flip" if at < len(cache):
            cache[at] ^= 1 << (value % 8)
        case "cut":
            del cache[at:]
        case "zeros":
            end = min(len(cache), at + 1 + value)
            cache[at:end] = bytes(end - at)
        case "tail":
            cache += cache[at : at + value] or bytes(value)
        case "gone":
            del files.cached_names[name]
        case "end":  # near the end, where the last group and its mark are
            at = max(0, len(cache) - 1 - value)
            if at < len(cache):
                cache[at] ^= 1


def said_by_the_product(files: FaultyFiles) -> tuple[Model, int] | None:
    image = files.copy()
    image.kill()
    try:
        found = open_storage(image, 10_000).recovered
    except LogDamaged:
        return None
    return Model.of(found), found.torn_bytes


def said_by_the_twin(files: FaultyFiles) -> tuple[Model, int] | None:
    try:
        return Twin({name: bytes(inode.cache) for name, inode in files.cached_names.items()}).start()
    except Damaged:
        return None


changes = st.tuples(
    st.integers(0, 20),
    st.sampled_from(["flip", "flip", "cut", "zeros", "tail", "gone", "end"]),
    st.floats(0, 1),
    st.integers(0, 600),
)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6), steps=st.integers(1, 12), stopped=st.booleans(), damages=st.lists(changes, max_size=2)
)
@example(1, 12, False, [])
@example(2, 12, True, [])
def test_a_start_finds_what_its_dumb_twin_finds(
    seed: int, steps: int, stopped: bool, damages: list[tuple[int, str, float, int]]
) -> None:
    files = left_behind(seed, steps, stopped)
    if "IDENTITY" not in files.cached_names:
        return  # it never came to a log
    for each in damages:
        damage(files, *each)
    if any(name.endswith(".seg") for name in files.cached_names):
        assert said_by_the_product(files) == said_by_the_twin(files)


def test_the_twin_has_something_to_say() -> None:
    """All three answers come up, and so does the twin's own fault when one is planted."""
    answers = {"damaged": 0, "torn": 0, "intact": 0}
    for seed in range(60):
        files = left_behind(seed, 8, stopped=seed % 2 == 0)
        if seed % 3 == 0:
            damage(files, seed, "flip", 0.5, seed)
        if not any(name.endswith(".seg") for name in files.cached_names):
            continue
        said = said_by_the_twin(files)
        answers["damaged" if said is None else "torn" if said[1] else "intact"] += 1
    assert min(answers.values()) > 3, answers


def test_a_product_that_takes_damage_for_a_tear_differs_from_its_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raft_actors.storage.recovery._require_no_mark_behind", lambda *_: None)
    differ = 0
    for seed in range(30):
        files = left_behind(seed, 8, stopped=False)
        damage(files, 10**6 + seed, "flip", 0.5, seed)
        differ += said_by_the_product(files) != said_by_the_twin(files)
    assert differ > 0
