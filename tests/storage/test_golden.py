"""Data directories of format 1, byte by byte: what is on people's disks must be readable for ever.

`RAFT_GOLDEN_REWRITE=1 pytest tests/storage/test_golden.py` writes the golden files anew. A diff of them needs another
format number (docs/FORMATS.md) and, once a version was released, a reader for the old one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raft_actors.core.types import GENESIS_ID, EntryId, LogIndex, Term
from raft_actors.storage.wal import FileStorage
from tests.storage.faulty_files import PATH, FaultyFiles, Inode
from tests.storage.logs import (
    CONFIGURATION,
    GENESIS,
    GROUP,
    MEMBER,
    OTHER,
    append,
    command,
    entry,
    meta,
    read_snapshot,
    reset,
    state_at,
    take_snapshot,
    truncate,
    vote,
)

GOLDEN = Path(__file__).parent / "golden"


def start(files: FaultyFiles) -> FileStorage:
    files.kill()
    return FileStorage.open(PATH, group=GROUP, member_id=MEMBER, segment_bytes_max=600, files=files)


def whole() -> FaultyFiles:
    """Two starts, a full file, a snapshot."""
    files = FaultyFiles(seed=1)
    storage = start(files)
    storage.write_genesis(GENESIS)
    storage.write([vote(1, OTHER), append(entry(1, 1), command(1, 2))])
    storage.mark_synced()
    storage.write([append(entry(1, 3, CONFIGURATION), command(1, 4, 300))])
    storage.write([truncate(4), vote(2), append(command(2, 4))])
    take_snapshot(storage, 2, 4)
    start(files).write([append(command(2, 5))])
    files.kill()
    return files


def compacted() -> FaultyFiles:
    """The same later: its first files are gone, and a snapshot was received."""
    files = whole()
    storage = start(files)
    storage.compact(LogIndex(4))
    take_snapshot(storage, 3, 7)
    storage.write([vote(3), reset(3, 7)])
    storage.write([append(command(3, 8))])
    files.kill()
    return files


DIRECTORIES = {"whole": whole, "compacted": compacted}


@pytest.mark.parametrize("name", DIRECTORIES)
def test_what_is_written_is_as_it_ever_was(name):
    files = DIRECTORIES[name]()
    written = {each: bytes(inode.cache) for each, inode in files.cached_names.items() if each != "LOCK"}
    if os.environ.get("RAFT_GOLDEN_REWRITE"):
        (GOLDEN / name).mkdir(parents=True, exist_ok=True)
        for path in (GOLDEN / name).iterdir():
            path.unlink()
        for each, data in written.items():
            (GOLDEN / name / each).write_bytes(data)
    assert {path.name: path.read_bytes() for path in (GOLDEN / name).iterdir()} == written


def read(name: str) -> FileStorage:
    files = FaultyFiles(seed=2)
    files.exists = True
    for path in (GOLDEN / name).iterdir():
        data = path.read_bytes()
        files.cached_names[path.name] = files.platter_names[path.name] = Inode(bytearray(data), bytearray(data))
    return start(files)


def test_a_whole_log_can_be_read():
    storage = read("whole")
    found = storage.recovered
    assert found.incarnation.start_count == 3
    assert found.genesis == GENESIS
    assert found.hard_state == vote(2)
    assert found.base == GENESIS_ID
    assert found.entries == (
        entry(1, 1),
        command(1, 2),
        entry(1, 3, CONFIGURATION),
        command(2, 4),
        command(2, 5),
    )
    assert found.snapshot == meta(2, 4)


def test_a_compacted_log_can_be_read():
    storage = read("compacted")
    found = storage.recovered
    assert found.incarnation.start_count == 4
    assert found.genesis == GENESIS
    assert found.hard_state == vote(3)
    assert found.base == EntryId(Term(3), LogIndex(7))
    assert found.entries == (command(3, 8),)
    assert found.snapshot == meta(3, 7)
    assert read_snapshot(storage, 7) == state_at(7)


@pytest.mark.parametrize("kind", range(1, 14))
def test_every_type_of_record_is_there(kind):
    marker = b"\xd7R\x01" + bytes([kind])
    assert any(marker in path.read_bytes() for path in GOLDEN.glob("*/*"))
