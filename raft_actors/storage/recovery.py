"""What a data directory holds after any end of the process or the machine: the log, or where it is damaged.

Here:   which segment files count, how far, what they add up to, what is torn and what is damage. Reads only.
Never:  writing. What must be written before anything is answered stands in wal.py, with the argument why.

**Marks.** A write group begins only after the sync of the one before returned. So a group header says that everything
before it was synced; a synced mark says the same of an idle log; and a segment header says so of the earlier files, as
far as its `continues` reaches. What a mark says stays true even if the mark itself never reaches the disk. Hence:

- broken bytes with a mark behind them, in their file or as the `continues` of a later file: `LogDamaged`;
- broken bytes with no mark behind them: torn. The sync of their group never returned, so it was never acknowledged.
  (Assumption: bits do not rot in the last group before its mark is synced.)

At most one group stands behind the last mark: `pending`. Its sync may or may not have returned.

**Which files count.** A file counts if its header is whole and so is its *opening*, the group that repeats what an
earlier start left pending. The head is the file with the highest number that counts; from it `continues` leads back to
the first. A later file that does not count was being created when the process or the machine stopped, nothing it holds
was answered, and what it would have repeated still stands where its `continues` points. Files that are not on the way
from the head are void, whatever they hold: a removed file that comes back after a power cut changes nothing.
A header is synced, with its name, before anything else is written into its file; so a mark in a file without a whole
header is damage. A missing file is noticed because the next one names it, unless a good snapshot holds everything that
was before some later file: then the log begins there (`_cut`), as a compaction meant it to (ADR 10). What such a file
truncates from before its beginning is not there; the snapshot covers it.
"""

from __future__ import annotations

import os.path
from dataclasses import dataclass, field

from raft_actors.core.effects import Append, HardState
from raft_actors.core.entries import Entry
from raft_actors.core.types import GENESIS_ID, EntryId, LogIndex, Term
from raft_actors.errors import LogDamaged
from raft_actors.storage.directory import DataDirectory
from raft_actors.storage.image import ImpossibleRecord, LogImage, LogRecord
from raft_actors.storage.records import (
    GROUP_HEADER,
    GROUP_TRAILER,
    LOG_START,
    MARK_PREFIXES,
    SEGMENT_HEADER_BYTES_MAX,
    SYNCED_MARK,
    Position,
    SegmentHeader,
    decode_record,
    is_trailer_of,
    read_frame,
    read_mark,
)
from raft_actors.storage.refusals import damaged
from raft_actors.storage.segments import LogFile, Segment, load_segment, segment_name, segment_numbers
from raft_actors.storage.snapshots import Found, find_snapshot


@dataclass(slots=True, kw_only=True)
class RecoveredLog:
    """What the files add up to, and where the next one goes on."""

    image: LogImage = field(default_factory=LogImage)
    start_count: int = 0
    """Highest start counter that any file names; 0 in a new directory."""
    number: int = 0
    """Highest number of any file; 0 when there is none."""
    continues: Position = LOG_START
    """The last mark: everything before it is durable, only `pending` behind it counts."""
    hard_state: HardState = field(default_factory=lambda: HardState(term=Term(0), voted_for=None))
    """Term and vote at the last mark."""
    before: EntryId = GENESIS_ID
    """The log's last entry at the last mark."""
    pending: list[LogRecord] = field(default_factory=list)
    """Records of the whole group behind the last mark; they are in `image`, but need not be durable. The last of them
    may be a reset that the newest snapshot asks for and no file holds yet."""
    torn_bytes: int = 0
    files: list[LogFile] = field(default_factory=list)
    """The files that count up to the last mark."""
    void: list[str] = field(default_factory=list)
    """Other segment files: they may go once a later file is durable."""
    snapshots: Found
    """The newest good one, to which the log was joined, and the others."""


def recover(directory: DataDirectory) -> RecoveredLog:
    """Read all that counts. Changes nothing.

    Raises `LogDamaged` (file, offset, index), `ForeignDirectory`, `NewerFormat`, or OSError from the disk.
    """
    numbers = segment_numbers(directory)
    found = find_snapshot(directory)
    log = RecoveredLog(number=max(numbers, default=0), snapshots=found)
    later: list[SegmentHeader] = []
    chain: list[Segment] = []
    headless = False
    for number in reversed(numbers):
        segment = load_segment(directory, number)
        if segment.header is not None:
            log.start_count = max(log.start_count, segment.header.start_count)
        if _counts(directory, segment):
            chain = _chain_of(directory, segment, frozenset(numbers), found)
            break
        if segment.header is not None:
            later.append(segment.header)
        else:
            log.torn_bytes += segment.size
            headless = True
    if headless:
        # A file that lost its header may have been told of: each start takes at least one number, so this is enough.
        number, count = (chain[-1].number, log.start_count) if chain else (0, 0)
        log.start_count = max(log.start_count, count + log.number - number)
    _require_continued_files(directory, later, chain)
    for at, segment in enumerate(chain):
        if segment is chain[-1]:
            floor = max(
                (each.continues.offset for each in later if each.continues.segment == segment.number), default=0
            )
            _Walk(directory, segment, log).to_end(floor)
        else:
            _Walk(directory, load_segment(directory, segment.number), log).to(_header_of(chain[at + 1]).continues)
    _continue_snapshot(directory, log, chain)
    log.files = [each for each in log.files if each.number <= log.continues.segment]
    kept = {each.number for each in log.files}
    log.void = [segment_name(number) for number in numbers if number not in kept]
    return log


def _continue_snapshot(directory: DataDirectory, log: RecoveredLog, chain: list[Segment]) -> None:
    """Join the log to the newest good snapshot, as the table of ADR 10 says. Raises `LogDamaged`."""
    image, found = log.image, log.snapshots
    if found.names and not chain:
        newest = segment_name(max(log.number, 1))
        raise damaged(directory, newest, 0, 0, f"no file of the log counts beside {found.names[-1].file}")
    try:
        reset = image.reset_to(found.meta)
        if reset is not None:
            image.apply(reset)
            log.pending.append(reset)
        if found.genesis is not None:
            image.apply(found.genesis)
    except ImpossibleRecord as refusal:
        first = chain[0].name if chain else segment_name(1)
        raise _unreachable(directory, found, first, image.base.index, str(refusal)) from refusal
    if not image.base_is_known:  # it lies before what the snapshot covers and the log holds: so does the next one
        image.compact(LogIndex(image.base.index + 1))
    image.is_cut = False


def _unreachable(directory: DataDirectory, found: Found, name: str, index: int, why: str) -> LogDamaged:
    """The log does not reach back to anything good: because a newer snapshot is damaged, or else a file is missing."""
    if not found.damaged:
        return damaged(directory, name, 0, index, why)
    worst = found.damaged[0]
    return damaged(directory, os.path.basename(worst.file), worst.offset, index, f"{why}; {worst.why}")


# -- files --------------------------------------------------------------------------------------------------------


def _counts(directory: DataDirectory, segment: Segment) -> bool:
    """Whether header and opening are whole. Raises `LogDamaged` if not, although something behind was synced."""
    header = segment.header
    if header is None:
        _require_no_mark_behind(directory, segment, 0, 0)
        return False
    if header.opening_end == segment.header_end:
        return True
    end = min(header.opening_end, segment.size)
    group = _read_group(directory, segment, segment.header_end, segment.header_chain, end)
    if isinstance(group, _Group) and group.behind == header.opening_end:
        return True
    broken_at = group.behind if isinstance(group, _Group) else group
    _require_no_mark_behind(directory, segment, broken_at, header.before.index + 1)
    return False


def _chain_of(directory: DataDirectory, head: Segment, numbers: frozenset[int], found: Found) -> list[Segment]:
    """The files from the first to the head, each found through the one after it.

    The first is the one before which nothing ever was. Or, where that one is gone, the first that begins at or below
    what a good snapshot covers: nothing that is needed was before it, whichever of the earlier files are still there.
    """
    chain = [head]
    while (earlier := _header_of(chain[0]).continues.segment) != 0:
        if earlier not in numbers:
            return _cut(directory, chain, found)
        segment = load_segment(directory, earlier, SEGMENT_HEADER_BYTES_MAX)  # the log need not fit into memory twice
        if segment.header is None:
            raise damaged(directory, segment.name, 0, 0, f"broken, although {chain[0].name} continues it")
        chain.insert(0, segment)
    return chain


def _cut(directory: DataDirectory, chain: list[Segment], found: Found) -> list[Segment]:
    covered = 0 if found.meta is None else found.meta.last.index
    for at, segment in enumerate(chain):
        if 0 < covered >= _header_of(segment).before.index:
            return chain[at:]
    header = _header_of(chain[0])
    missing = segment_name(header.continues.segment)
    raise _unreachable(directory, found, missing, header.before.index, f"missing before {chain[0].name}")


def _header_of(segment: Segment) -> SegmentHeader:
    assert segment.header is not None, "a file without a header is not on the way from the head"
    return segment.header


def _require_continued_files(directory: DataDirectory, later: list[SegmentHeader], chain: list[Segment]) -> None:
    """A file that was being created names a place that was durable before: it must still be there."""
    known = {0} | {segment.number for segment in chain}
    if chain:
        known.add(_header_of(chain[0]).continues.segment)  # gone in a compaction, or 0
    for header in later:
        if header.continues.segment not in known:
            name = segment_name(header.continues.segment)
            raise damaged(directory, name, 0, header.before.index, f"missing before {segment_name(header.number)}")


# -- records ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """A whole write group."""

    records: list[LogRecord]
    last: EntryId
    """The log's last entry behind it, as its trailer says."""
    behind: int
    chain: int


def _read_group(directory: DataDirectory, segment: Segment, at: int, chain: int, end: int) -> _Group | int:
    """The group that begins at `at`, or the offset where it stops to hold together.

    Raises `LogDamaged` for records whose CRC holds and that make no sense: no crash leaves those.
    """
    mark = read_mark(segment.data, at, end, directory.identity.directory_id, segment.number)
    if mark is None or mark[0].kind != GROUP_HEADER or mark[1] != chain:
        return at
    records: list[LogRecord] = []
    entries: list[Entry] = []
    frame, count = mark[0], 0
    while True:
        here = frame.behind
        following = read_frame(segment.data, here, end, frame.chain)
        if following is None:
            return here
        frame = following
        if frame.kind == GROUP_TRAILER:
            if entries:
                records.append(Append(entries=tuple(entries)))
            if not is_trailer_of(frame, count, here - at):
                raise damaged(directory, segment.name, here, frame.entry_index, "a trailer that does not fit its group")
            last = EntryId(Term(frame.entry_term), LogIndex(frame.entry_index))
            return _Group(records=records, last=last, behind=frame.behind, chain=frame.chain)
        try:
            record = decode_record(frame)
        except ImpossibleRecord as refusal:
            raise damaged(directory, segment.name, here, frame.entry_index, str(refusal)) from refusal
        count += 1
        if isinstance(record, Entry):
            entries.append(record)
            continue
        if entries:
            records.append(Append(entries=tuple(entries)))
            entries = []
        records.append(record)


class _Walk:
    """One pass through a file that counts, adding what it holds to the log."""

    def __init__(self, directory: DataDirectory, segment: Segment, log: RecoveredLog) -> None:
        assert segment.header is not None, "only files that count are walked"
        self._directory, self._segment, self._log = directory, segment, log
        self._at, self._chain = segment.header_end, segment.header_chain
        header, image = segment.header, log.image
        if not log.files and header.continues.segment:  # what was before it went in a compaction (`_chain_of`)
            image.base, image.hard_state, image.is_cut = header.before, header.hard_state, True
        log.files.append(LogFile(number=segment.number, size=segment.size, before=header.before))
        if (header.hard_state, header.before) != (image.hard_state, image.last):
            raise self._damaged(0, "the header does not follow from the files before")
        self._mark_here(header.continues)

    def to(self, limit: Position) -> None:
        """Walk a file that a later one continues from `limit` on: everything before it was synced."""
        broken_at = self._walk(limit.offset)
        if (self._at, self._chain) != (limit.offset, limit.chain):
            why = f"segment {limit.segment} up to byte {limit.offset} was synced, says the file that continues it"
            raise self._damaged(self._at if broken_at is None else broken_at, why)

    def to_end(self, floor: int) -> None:
        """Walk the head; what is broken at its end is torn, unless a mark or a later file says that it was synced."""
        broken_at = self._walk(len(self._segment.data))
        if self._at < floor:
            raise self._damaged(self._at if broken_at is None else broken_at, "a later file continues behind it")
        if broken_at is not None:
            _require_no_mark_behind(self._directory, self._segment, broken_at, self._log.image.last.index + 1)
        self._log.torn_bytes += len(self._segment.data) - self._at

    def _walk(self, end: int) -> int | None:
        """Take groups and marks up to `end`; the offset of what does not hold together, if that comes first."""
        segment, log = self._segment, self._log
        end = min(end, len(segment.data))
        while self._at < end:
            mark = read_mark(segment.data, self._at, end, self._directory.identity.directory_id, segment.number)
            if mark is None or mark[1] != self._chain:
                return self._at
            frame = mark[0]
            if (frame.entry_index, frame.entry_term) != (log.image.last.index, log.image.last.term):
                raise self._damaged(self._at, "a mark of another log")
            self._mark_here(Position(segment.number, self._at, self._chain))
            if frame.kind == SYNCED_MARK:
                self._at, self._chain = frame.behind, frame.chain
                continue
            group = _read_group(self._directory, segment, self._at, self._chain, end)
            if not isinstance(group, _Group):
                return group
            self._take(group)
            self._at, self._chain = group.behind, group.chain
        return None

    def _mark_here(self, position: Position) -> None:
        log = self._log
        if position.offset != self._segment.header_end or position.segment != self._segment.number:
            # At the header's end nothing of this file counts yet: the place is the one that the header continues.
            log.continues = position
        log.hard_state, log.before, log.pending = log.image.hard_state, log.image.last, []

    def _take(self, group: _Group) -> None:
        image = self._log.image
        try:
            for record in group.records:
                image.apply(record)
        except ImpossibleRecord as refusal:
            raise self._damaged(self._at, str(refusal)) from refusal
        if not image.base_is_known and not image.entries and image.base.index == group.last.index:
            image.base, image.base_is_known = group.last, True
        if image.last != group.last:
            raise self._damaged(self._at, f"the group ends at {image.last} and its trailer says {group.last}")
        self._log.pending = group.records

    def _damaged(self, offset: int, why: str) -> LogDamaged:
        return damaged(self._directory, self._segment.name, offset, self._log.image.last.index + 1, why)


def _require_no_mark_behind(directory: DataDirectory, segment: Segment, broken_at: int, index: int) -> None:
    """Raise `LogDamaged` if anything from `broken_at` on says that the bytes before it were synced."""
    data, size = segment.data, len(segment.data)
    for prefix in MARK_PREFIXES:
        at = data.find(prefix, broken_at)
        while at != -1:
            if read_mark(data, at, size, directory.identity.directory_id, segment.number) is not None:
                raise damaged(
                    directory, segment.name, broken_at, index, f"broken, although byte {at} says it was synced"
                )
            at = data.find(prefix, at + 1)
