"""The state of a host as a stream: what goes on from it goes on as if nothing had happened (C8, contracts 11)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from raft_actors.application.exchange import Applied, Checkpoint, CommittedEntry, Provenance
from raft_actors.application.fields import FieldReader, pack_fields
from raft_actors.application.frames import Frame
from raft_actors.application.host import ApplicationHost, ApplicationStopped
from raft_actors.application.packing import Malformed
from raft_actors.application.settings import SessionLimits
from raft_actors.core.types import DirectoryId, LogIndex
from tests.application.builders import EPOCH, OTHER_EPOCH, Journal, apply, apply_request, entry, frame, noop

BY = b"directory-123456"
OWN = Provenance(computed_by=DirectoryId(BY), agreed=None)
LIMITS = SessionLimits(results_max=6, sessions_max=4, idle_ms_max=3_000)


def host(machine: object = None) -> ApplicationHost:
    return ApplicationHost(machine or Journal(), LIMITS)  # type: ignore[arg-type]


def restored(chunks: Iterable[bytes], machine: object = None) -> ApplicationHost:
    fresh = host(machine)
    fresh.restore(map(memoryview, chunks))
    return fresh


def entries(seed: int, count: int) -> list[CommittedEntry]:
    """Commands of more clients than there may be sessions, some late, some twice, in bursts and after pauses."""
    dice, stamp_ms, drawn = random.Random(seed), 0, []
    for _ in range(count):
        stamp_ms += dice.choice((0, 10, 400, 2_000))
        frames = [_frame(dice, len(drawn)) for _ in range(dice.randrange(4))]
        drawn.append(entry(*frames, stamp_ms=stamp_ms) if frames else noop(stamp_ms=stamp_ms))
    return drawn


def _frame(dice: random.Random, index: int) -> Frame:
    sequence = dice.randrange(12)
    return frame(
        sequence,
        by=dice.choice("abcdefg"),
        acked_below=dice.randrange(sequence + 1),
        opens=dice.choice((None, index, dice.randrange(index + 1), dice.randrange(index + 1))),
    )


class TestGoingOn:
    @pytest.mark.parametrize("seed", range(40))
    def test_a_restored_host_answers_and_counts_as_the_one_before(self, seed):
        """Results, drops of sessions and the state chain: of all that a snapshot left out, something would differ."""
        drawn = entries(seed, 120)
        at = random.Random(seed).randrange(1, 100)
        one = host()
        one.attach(EPOCH)
        apply(one, 1, *drawn[:at])
        other = restored(one.snapshot(OWN))
        assert (other.applied_index, other.chain) == (at, one.chain)
        other.attach(OTHER_EPOCH)
        for begin in range(at, 120, 7):
            last = apply(one, begin + 1, *drawn[begin : begin + 7])
            mine = other.apply(apply_request(begin + 1, *drawn[begin : begin + 7], epoch=OTHER_EPOCH))
            assert isinstance(mine, Applied)
            assert (mine.applied_index, mine.chain) == (last.applied_index, last.chain)
        assert list(other.snapshot(OWN)) == list(one.snapshot(OWN))

    def test_a_retry_gets_its_first_answer(self):
        """C8: the table of what was answered is part of the state."""
        machine = Journal()
        one = host()
        one.attach(EPOCH)
        apply(one, 1, entry(frame(1, opens=0)))
        other = restored(one.snapshot(OWN), machine)
        other.attach(EPOCH)
        apply(other, 2, entry(frame(1)))
        assert machine.commands == [b"1"]

    def test_what_is_applied_meanwhile_does_not_show(self):
        one = host()
        one.attach(EPOCH)
        drawn = entries(5, 40)
        apply(one, 1, *drawn[:20])
        expected, chunks = list(one.snapshot(OWN)), one.snapshot(OWN)
        apply(one, 21, *drawn[20:])
        fields = FieldReader(map(memoryview, chunks))
        assert (fields.read(str), fields.read(int)) == ("raft-actors state 1", 20)
        assert restored(expected).applied_index == 20

    def test_its_moment_is_the_call_for_a_machine_that_is_a_generator_too(self):
        """Such a machine looks at its state when its first piece is asked for; hundreds of fields stand before that."""

        class Lazy(Journal):
            def snapshot(self) -> Iterator[bytes]:
                yield b"%d" % len(self.commands)

        one = host(Lazy())
        one.attach(EPOCH)
        apply(one, 1, *entries(5, 20))
        count = len(one._machine.commands)
        pieces = one.snapshot(OWN)
        apply(one, 21, *entries(6, 20))
        assert len(one._machine.commands) > count
        assert list(pieces)[-1] == b"%d" % count

    def test_equal_states_give_equal_bytes_whatever_the_hash_seed(self):
        program = (
            "from tests.application.test_snapshots import *\n"
            "one = host(); one.attach(EPOCH); apply(one, 1, *entries(3, 60))\n"
            "import hashlib; print(hashlib.sha256(b''.join(one.snapshot(OWN))).hexdigest())"
        )
        said = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": seed},
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in ("1", "2")
        }
        assert len(said) == 1


class TestTheStream:
    def test_these_bytes_are_on_disks(self):
        """docs/FORMATS.md; a change needs another format."""
        one = host()
        one.attach(EPOCH)
        apply(one, 1, entry(frame(1, b"x", opens=0), stamp_ms=7))
        data = b"".join(one.snapshot(OWN))
        assert (
            data.hex()
            == (
                "b3"
                + b"raft-actors state 1".hex()
                + "01"
                + "01"
                + "c410"
                + one.chain.hex()
                + "c410"
                + BY.hex()
                + "00"  # nothing agreed
                + "c410"
                + bytes(16).hex()
                + "ff01"  # -1: nothing dropped
                "010701"  # one last use, at index 1, stamp 7, of one client
                "c410" + (b"c" + b"-" * 15).hex() + "0001"  # it acknowledged nothing, one result
                "01c40131"  # of sequence 1: b"1"
                "01000000" + "78"  # the machine's own: b"x"
            )
        )

    @pytest.mark.parametrize("agreed", [None, Checkpoint(index=LogIndex(4), chain=b"a" * 16)])
    def test_it_says_who_computed_it(self, agreed):
        one = host()
        one.attach(EPOCH)
        apply(one, 1, *entries(1, 5))
        assert one.provenance is None
        provenance = Provenance(computed_by=DirectoryId(BY), agreed=agreed)
        assert restored(one.snapshot(provenance)).provenance == provenance

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
    def test_it_may_come_in_any_pieces(self, size):
        one = host()
        one.attach(EPOCH)
        apply(one, 1, *entries(9, 30))
        data = b"".join(one.snapshot(OWN))
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        reader = FieldReader(map(memoryview, pieces))
        whole = FieldReader(map(memoryview, [data]))
        for kind in (str, int, int, bytes, bytes, int, bytes, int, int):
            assert reader.read(kind) == whole.read(kind)
        assert b"".join(reader.rest()) == b"".join(whole.rest())

    def test_what_is_changed_or_cut_off_is_refused_or_another_state(self):
        """Checksums are the storage's; here nothing but `Malformed` may come out, and nothing half restored be used."""
        one = host()
        one.attach(EPOCH)
        apply(one, 1, *entries(9, 30))
        data = b"".join(one.snapshot(OWN))
        dice = random.Random(1)
        for _ in range(600):
            changed = bytearray(data)
            changed[dice.randrange(len(changed))] = dice.randrange(256)
            try:
                restored([bytes(changed[: dice.choice((len(changed), dice.randrange(len(changed))))])])
            except Malformed:
                continue

    @pytest.mark.parametrize(
        "fields",
        [
            (),
            ("raft-actors state 2",),
            ("raft-actors state 1", 0, 0, bytes(16), BY, 0, bytes(16), -1, 0),
            ("raft-actors state 1", 5, 1, bytes(16), b"", 0, bytes(16), -1, 0),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 6, bytes(16), -1, 0),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 5, b"", -1, 0),
            ("raft-actors state 1", 5, 1, bytes(15), BY, 0, bytes(16), -1, 0),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 0, bytes(16), 6, 0),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 0, bytes(16), -1, 5),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 0, bytes(16), -1, 1, 6, 0, 1, bytes(16), 0, 0),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 0, bytes(16), -1, 1, 5, 0, 0),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 0, bytes(16), -1, 1, 5, 0, 1, b"c", 0, 0),
            (
                "raft-actors state 1",
                5,
                1,
                bytes(16),
                BY,
                0,
                bytes(16),
                -1,
                1,
                5,
                0,
                2,
                b"d" * 16,
                0,
                0,
                b"c" * 16,
                0,
                0,
            ),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 0, bytes(16), -1, 1, 5, 0, 1, b"c" * 16, -1, 0),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 0, bytes(16), -1, 1, 5, 0, 1, b"c" * 16, 2, 1, 1, b"r"),
            ("raft-actors state 1", 5, 1, bytes(16), BY, 0, bytes(16), -1, 1, 5, 0, 1, b"c" * 16, 2, 7),
            (
                "raft-actors state 1",
                5,
                1,
                bytes(16),
                BY,
                0,
                bytes(16),
                -1,
                2,
                5,
                0,
                1,
                b"c" * 16,
                0,
                0,
                4,
                0,
                1,
                b"d" * 16,
                0,
                0,
            ),
            ("raft-actors state 1", b"5", 1, bytes(16), BY, 0, bytes(16), -1, 0),
        ],
    )
    def test_what_no_host_wrote_is_refused(self, fields):
        with pytest.raises(Malformed):
            restored(pack_fields(fields))


class TestWhoMayBeRestored:
    def test_a_host_that_applied_something_is_not(self):
        one = host()
        one.attach(EPOCH)
        apply(one, 1, *entries(1, 3))
        chunks = list(one.snapshot(OWN))
        with pytest.raises(AssertionError):
            one.restore(map(memoryview, chunks))

    def test_a_stopped_host_gives_no_snapshot(self):
        class Broken(Journal):
            def apply(self, index: int, command: bytes) -> bytes:
                raise RuntimeError

        one = host(Broken())
        one.attach(EPOCH)
        with pytest.raises(ApplicationStopped):
            apply(one, 1, entry(frame(1, opens=0)))
        with pytest.raises(ApplicationStopped):
            one.snapshot(OWN)

    def test_a_machine_that_gives_no_bytes_is_told_so(self):
        class Wrong(Journal):
            def snapshot(self) -> Iterator[bytes]:
                yield "text"  # type: ignore[misc]

        one = host(Wrong())
        one.attach(EPOCH)
        apply(one, 1, entry(frame(1, opens=0)))
        with pytest.raises(TypeError, match="bytes"):
            list(one.snapshot(OWN))

    def test_the_chains_of_before_are_not_reported_again(self):
        """They were compared already, or computed by another (contracts 8 a)."""
        one = host()
        one.attach(EPOCH)
        apply(one, 1, *entries(1, 1_100))
        assert one.checkpoints()
        other = restored(one.snapshot(OWN))
        assert other.checkpoints() == ()
        assert other.applied_index == LogIndex(1_100)
