"""What kind of world a seed is: drawn once, before anything happens, and printed by a failure.

Here:   `Options` and how they are drawn (swarm testing: each seed has some of the faults, never all at full strength).
Never:  what happens from one moment to the next.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import Final, TypeAlias

from raft_actors.application.limits import HostLimits
from raft_actors.application.settings import SessionLimits
from raft_actors.client.limits import ClientLimits
from raft_actors.config import RaftConfig

Range: TypeAlias = tuple[int, int]

SIZES: Final = (1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7)
"""Small odd groups are what is run; all others up to 7 must be right too."""
PLACES_MAX: Final = 7
SLOW_US: Final = 20_000
"""Where calls take so long, clients are patient and heartbeats rare, or most events would be theirs."""
RATE_ONE: Final = 1000
"""A clock that runs as the world does."""
TICK_IDLE_US: Final = 150_000
"""The owner looks every 20 ms; where nothing waits for its look, it may as well look late."""
FAULTS: Final = (
    "partition",
    "isolate",
    "isolate_leader",
    "strand_leader",
    "ambush",
    "leave_behind",
    "partial_partition",
    "one_way",
    "kill_peer",
    "kill_server",
    "kill_leader",
    "power_cut",
    "power_cut_all",
    "pause_peer",
    "pause_server",
    "pause_client",
    "replace_client",
    "stall_disk",
    "wipe",
    "replace_machine",
    "supersede",
    "outrun",
    "strike_snapshot",
    "strike_source",
    "ask_for_snapshot",
)
"""Kinds of faults, each a method of nemesis.py."""
TRAVELS: Final = ("outrun", "outrun", "outrun", "strike_snapshot", "strike_snapshot", "strike_source")
FILE_FAULTS: Final = ("refuse_write", "stop_while_opening", "damage", "damage_snapshot")
"""Those that only the product's log files can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One kind of world. Times in microseconds unless the name says otherwise."""

    members: int
    non_voters: int
    places: int
    """Members at first, and empty directories that wait to be invited, behind them."""
    administered: bool
    """Somebody changes the membership and hands leadership over; members come and go."""
    admin_every_us: int
    """Between two things that he asks for, in the mean."""
    admin_every_events: int
    """The same, in events; what comes first counts."""
    strangers: bool
    """A directory that comes in the place of a lost one has the group's record at once, as one that was copied would:
    it obeys, and counts nowhere. Otherwise it waits to be invited."""
    promotion_lag_max: int
    compare_every: int
    """Entries between two at which members compare their state chains."""
    clients: int
    files: bool
    """The product's log files on a faulty file system; otherwise a storage in memory."""
    codec: bool
    """Messages travel as bytes; otherwise as the (frozen) objects."""
    rates: tuple[int, ...]
    """How fast each member's clock runs, in thousandths."""
    network_us: Range
    disk_us: Range
    stall_us: Range
    """A disk that stalls takes this long."""
    stall_probability: float
    tick_us: int
    """Between two looks of a peer's owner at what nothing else shows; a follower applies then what is committed."""
    inbox_us: Range
    """From the disk's or the application's end of work to the owner's look at its inbox."""
    socket_us: Range
    """From a peer to its application and back."""
    work_us: Range
    """What an application takes for a call of its peer, or for a client's."""
    dead_call_ms: Range
    """When the caller of a process that is gone learns it. Ray takes more than a second."""
    held_calls: bool
    """Calls to a process that is gone wait for its successor, as Ray's do; otherwise they fail."""
    idle_mark_ms: int
    segment_bytes_max: int
    config: RaftConfig
    sessions: SessionLimits
    host: HostLimits
    client: ClientLimits
    keys: int
    operation_gap_us: Range
    operation_timeouts_ms: Range
    in_parallel: int
    """Operations that one client has under way at most."""
    hoarders: tuple[int, ...]
    """Members that take no snapshots by themselves, so that their logs go back further than those of the others."""
    filing_us: Range
    """What the disk takes for a slice of a snapshot."""
    naming_us: Range
    """And for its name, before which all of it is synced."""
    lost_reference: float
    """Probability that the bytes of a slice are not in the object store any more."""
    drop: float
    duplicate: float
    reorder: float
    delay_ms: int
    profiles: tuple[str, ...]
    """labrpc's."""
    fault_every_us: int
    """Between two faults, in the mean."""
    fault_every_events: int
    """The same, in events; what comes first counts."""
    faults: tuple[str, ...]
    """Kinds of faults, by name; one that is there twice is twice as likely."""

    def lines(self) -> list[str]:
        """For a reader."""
        return [f"  {field.name} = {getattr(self, field.name)!r}" for field in fields(self)]


def draw(dice: random.Random) -> Options:
    """One kind of world from these dice."""
    members = dice.choice(SIZES)
    non_voters = 1 if members >= 3 and dice.random() < 0.1 else 0
    administered = dice.random() < 0.5
    most = dice.choice((members, members + 1, 3, 5, 7)) if administered else members
    calm = dice.random() < 0.15
    files = dice.random() < 0.12
    network_us = dice.choice(((50, 300), (200, 2000), (100, 20_000)))
    work_us = dice.choice(((10, 100), (10, 100), (100, 20_000), (1000, 300_000)))
    slow = max(network_us[1], work_us[1]) >= SLOW_US
    config = _draw_config(dice, slow=slow)
    sessions = _draw_sessions(dice)
    faults = () if calm else _draw_faults(dice, files=files)
    hoarding = dice.choice((0.0, 0.0, 0.3))
    return Options(
        members=members,
        non_voters=non_voters,
        places=min(PLACES_MAX, max(members, most)),
        administered=administered,
        admin_every_us=dice.choice((50_000, 300_000, 1_000_000)),
        admin_every_events=dice.choice((5, 15, 40)),
        strangers=not administered or dice.random() < 0.3,
        promotion_lag_max=dice.choice((0, 1, 3, 512)),
        compare_every=dice.choice((2, 4, 16, 64, 1024)),
        clients=dice.choice((1, 2, 2, 3, 4)),
        files=files,
        codec=dice.random() < 0.12,
        rates=tuple(dice.randint(500, 2000) for _ in range(members)) if dice.random() < 0.3 else (RATE_ONE,) * members,
        network_us=network_us,
        disk_us=dice.choice(((20, 100), (500, 3000), (2000, 30_000))),
        stall_us=(100_000, 1_500_000),
        stall_probability=dice.choice((0.0, 0.0, 0.0, 0.01, 0.05)),
        tick_us=TICK_IDLE_US,
        inbox_us=dice.choice(((0, 0), (0, 0), (0, 5000))),
        socket_us=dice.choice(((20, 100), (20, 100), (50, 20_000))),
        work_us=work_us,
        dead_call_ms=dice.choice(((0, 5), (10, 300), (1300, 1900))),
        held_calls=dice.random() < 0.3,
        idle_mark_ms=config.idle_mark_ms,
        segment_bytes_max=dice.choice((300, 1000, 4000, 64 * 1024)),
        config=config,
        sessions=sessions,
        host=_draw_host_limits(dice),
        client=_draw_client_limits(dice, sessions, slow=slow),
        keys=dice.choice((1, 2, 2, 4)),
        operation_gap_us=dice.choice(((0, 2000), (0, 10_000), (1000, 50_000), (10_000, 300_000))),
        operation_timeouts_ms=dice.choice(((300, 1500), (2000, 6000), (5000, 10_000))),
        in_parallel=dice.choice((1, 1, 2, 4)),
        hoarders=tuple(number for number in range(1, members + 1) if dice.random() < hoarding),
        filing_us=dice.choice(((20, 100), (500, 3000), (2000, 30_000), (20_000, 200_000))),
        naming_us=dice.choice(((20, 100), (500, 3000), (50_000, 2_000_000))),
        lost_reference=dice.choice((0.0, 0.0, 0.05, 0.3)),
        drop=0.0 if calm else dice.choice((0.0, 0.0, 0.0, 0.0, 0.02, 0.02, 0.1, 0.3)),
        duplicate=dice.choice((0.0, 0.0, 0.05, 0.3)),
        reorder=dice.choice((0.0, 0.0, 0.1, 0.5)),
        delay_ms=dice.choice((0, 0, 0, 0, 0, 30, 300)),
        profiles=() if calm else _draw_profiles(dice),
        fault_every_us=dice.choice((100_000, 300_000, 1_000_000, 2_000_000)),
        fault_every_events=members * dice.choice((8, 20, 40)),
        faults=faults,
    )


def _draw_profiles(dice: random.Random) -> tuple[str, ...]:
    if dice.random() < 0.85:
        return ()
    return (dice.choice(("unreliable", "long_reordering", "long_delays")),)


def _draw_faults(dice: random.Random, *, files: bool) -> tuple[str, ...]:
    """Some kinds, some of them likelier than others."""
    kinds = FAULTS + FILE_FAULTS if files else FAULTS
    chosen = [kind for kind in kinds if dice.random() < 0.35]
    if dice.random() < 0.5:  # what makes logs differ
        chosen += ["strand_leader", "ambush", "ambush", "leave_behind"]
    if dice.random() < 0.3:  # what makes snapshots travel, ends in the middle of that, and little else
        chosen = [*dice.sample(chosen, min(2, len(chosen))), *TRAVELS]
    if files and dice.random() < 0.3:
        chosen.append("damage_snapshot")
    if not chosen:
        chosen = [dice.choice(kinds)]
    return tuple(kind for kind in chosen for _ in range(dice.choice((1, 1, 3))))


def _draw_config(dice: random.Random, *, slow: bool) -> RaftConfig:
    heartbeat_ms = dice.choice((150, 150, 300)) if slow else dice.choice((60, 120, 120, 150))
    election_ms = heartbeat_ms * dice.choice((4, 5, 8))
    in_flight = dice.choice((1, 2, 3))
    bytes_max = dice.choice((1, 200, 1000, 1 << 20))
    return RaftConfig(
        heartbeat_interval_ms=heartbeat_ms,
        election_timeout_ms_min=election_ms,
        election_timeout_ms_max=election_ms * dice.choice((3, 4)) // 2,
        check_quorum_ms=election_ms * dice.choice((1, 2, 4)),
        rpc_deadline_ms=dice.choice((300, 1000)) if slow else dice.choice((100, 300, 1000)),
        calls_in_flight_max=in_flight + dice.choice((0, 1, 3)),
        appends_in_flight_max=in_flight,
        append_bytes_max=bytes_max,
        append_entries_max=dice.choice((1, 2, 4, 512)),
        apply_bytes_max=dice.choice((1, 500, 4 << 20)),
        proposal_bytes_max=1 << 20,
        uncommitted_bytes_max=dice.choice((1 << 20, 64 << 20)),
        reads_waiting_max=dice.choice((1, 3, 10_000)),
        log_bytes_max=1 << 30,
        snapshot_log_bytes=_draw_snapshot_log_bytes(dice),
        snapshot_slice_bytes_max=dice.choice((40, 150, 1000, 1 << 20)),
        idle_mark_ms=100,
        application_absent_ms_max=dice.choice((300, 1000, 2000)),
    )


def _draw_snapshot_log_bytes(dice: random.Random) -> int:
    """An entry has some 100 to 200 bytes, and half of this makes a snapshot: mostly one for every 1 to 50 entries."""
    if dice.random() < 0.7:
        return dice.choice((2, 2, 600, 600, 2000, 5000, 15_000))
    return dice.choice((60_000, 1 << 29))


def _draw_sessions(dice: random.Random) -> SessionLimits:
    if dice.random() < 0.6:
        return SessionLimits()
    return SessionLimits(
        results_max=dice.choice((4, 8, 64)),
        sessions_max=dice.choice((1, 2, 3, 5)),
        idle_ms_max=dice.choice((300, 1500, 10_000, 3_600_000)),
    )


def _draw_host_limits(dice: random.Random) -> HostLimits:
    if dice.random() < 0.6:
        return HostLimits()
    return HostLimits(
        proposal_bytes_max=1 << 20,
        proposal_frames_max=dice.choice((1, 2, 4096)),
        proposals_in_flight_max=dice.choice((1, 2, 4)),
        attempts_waiting_max=dice.choice((2, 8, 1000)),
        attempts_remembered_max=65_536,
        reads_waiting_max=dice.choice((1, 4, 1000)),
        recent_entries_max=dice.choice((1, 4, 1024)),
    )


def _draw_client_limits(dice: random.Random, sessions: SessionLimits, *, slow: bool) -> ClientLimits:
    tight = dice.random() < 0.4
    # Where a session is dropped before a retry comes, an operation ends only if its first answer comes in time.
    forgetful = sessions.idle_ms_max <= 10_000 or sessions.sessions_max <= 5
    attempts_ms, calls_ms = ((800, 2000), (2000, 4000)) if forgetful else ((100, 400, 800), (500, 2000))
    backoff_ms = dice.choice((50, 100, 200)) if slow else dice.choice((20, 50, 200))
    return ClientLimits(
        commands_max=min(sessions.results_max, dice.choice((4, 16)) if tight else 8192),
        attempt_ms=dice.choice(attempts_ms) if slow else dice.choice((30, 100, 400)),
        call_ms=dice.choice(calls_ms) if slow else dice.choice((100, 500, 2000)),
        calls_in_flight_max=dice.choice((1, 2)) if tight else 4,
        batch_count_max=dice.choice((1, 3)) if tight else 1024,
        scouts_max=dice.choice((1, 2)) if tight else 16,
        backoff_ms_min=backoff_ms,
        backoff_ms_max=8 * backoff_ms,
        suspicion_ms=dice.choice((100, 1000)),
        session_idle_ms=max(1, sessions.idle_ms_max // 2) if dice.random() < 0.7 else 1_800_000,
    )
