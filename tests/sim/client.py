"""One client process: the product's client logic, what its sender thread does, and what its users want.

Here:   `ClientProcess`: operations begun, calls made, outcomes told to the checks.
Never:  attempts, hints, patience, sessions (raft_actors/client), whether an outcome is right (checks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from analysis.history import UNSEEN, Deleted, Found, Mismatch, Outcome, Result, Written
from kv.commands import encode_append, encode_delete, encode_get, encode_put
from kv.encoded import Encoded
from kv.encoded import Kind as ValueKind
from kv.limits import Limits
from kv.results import decode_deleted, decode_found
from raft_actors.application.frames import ClientId
from raft_actors.client.engine import Engine
from raft_actors.client.operation import Call, Ended, Kind
from raft_actors.core.types import MemberId
from raft_actors.errors import OperationError
from raft_actors.faults.rules import Message, Part
from tests.sim.batches import Copies
from tests.sim.checks.clients import written
from tests.sim.timeline import Process, SkewedClock

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World

LIMITS: Final = Limits()
REQUEST, REPLY = Part.REQUEST, Part.REPLY
OPERATIONS: Final = ("append",) * 9 + ("get",) * 5 + ("put",) * 4 + ("delete",) + ("stale",)
LOOK_AROUND_US: Final = (50_000, 2_000_000)
"""Between two looks of a client at who belongs to the group."""
CONDITIONAL: Final = 0.3
"""Of the puts: only if the key has the version that this client saw last."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One operation of a user."""

    op: str
    key: str
    value: str | None
    if_version: int | None = None


class ClientProcess(Process):
    """From its start to its end; a successor draws another client id."""

    def __init__(self, world: World, label: str) -> None:
        super().__init__(label)
        self.world = world
        self.clock = SkewedClock(world.timeline, start_ms=5_000, rate=1000)
        self.engine = Engine(world.options.client, world.dice, lambda: ClientId(world.dice.randbytes(16)))
        self._known = tuple(line.member_id for line in world.genesis.configuration.members)
        self.engine.know(self._known)
        self.handles: dict[MemberId, Member] = {}
        """Of machines that have a successor, by the place that was theirs."""
        self.under_way: dict[int, Wanted] = {}
        self._versions: dict[str, int] = {}
        """By key, as seen last."""
        self.resting = False
        """It begins nothing on its own any more."""
        self._beginning = False
        self._open_calls: dict[int, Call] = {}
        self._number = 0
        self._wake_us: int | None = None
        self._timeline = world.timeline
        self._later()
        if world.options.administered:
            self._look_around_later()

    # -- members ------------------------------------------------------------------------------------------------------

    def _look_around_later(self) -> None:
        self._timeline.after(self.world.dice.randint(*LOOK_AROUND_US), self, self._look_around)

    def _look_around(self) -> None:
        """Somebody says who belongs to the group, as far as he knows."""
        said = [member.engine.state for member in self.world.members.values() if member.engine is not None]
        if said:
            configuration = self.world.dice.choice(said).configurations.in_force
            known = tuple(line.member_id for line in configuration.served())
            if known != self._known:
                self._known = known
                self.world.watch.count("clients learned other members")
            self.engine.know(known)
        self._look_around_later()

    # -- users --------------------------------------------------------------------------------------------------------

    def _later(self) -> None:
        """Begin another operation after a while, where there is room for it; each that ends makes room."""
        if not self._beginning and not self.resting and len(self.under_way) < self.world.options.in_parallel:
            self._beginning = True
            least, most = self.world.options.operation_gap_us
            self._timeline.after(self.world.dice.randint(least, most), self, self._maybe_begin)

    def _maybe_begin(self) -> None:
        self._beginning = False
        options, dice = self.world.options, self.world.dice
        if not self.resting and len(self.under_way) < options.in_parallel:
            key, op = self.world.keys.draw(dice), dice.choice(OPERATIONS)
            is_conditional = op == "put" and dice.random() < CONDITIONAL
            if_version = self._versions.get(key, 0) if is_conditional else None
            self.begin(op, key, dice.randint(*options.operation_timeouts_ms), if_version)
        self._later()

    def begin(self, op: str, key: str, timeout_ms: int, if_version: int | None = None) -> int:
        """A user wants something; its number in `under_way` until it ends."""
        number = self.world.next_operation()
        value = f"{self.name}.{number} " if op in ("append", "put") else None
        self.under_way[number] = wanted = Wanted(op, key, value, if_version)
        self.world.operation_invoked(self, number, wanted)
        kind = Kind.READ if op == "get" else Kind.STALE if op == "stale" else Kind.COMMAND
        self.engine.begin(number, kind, request_of(wanted), timeout_ms, self.clock.now_ms())
        self._pump()
        return number

    def _tell_ended(self) -> None:
        for ended in self.engine.take_ended():
            wanted = self.under_way.pop(ended.number)
            outcome, result, raw = _outcome(wanted, ended)
            self._learn(wanted.key, result)
            self.world.operation_ended(self, ended.number, wanted, outcome, result, raw)
            self._later()

    def _learn(self, key: str, result: Result | None) -> None:
        match result:
            case Found(version=version) | Written(version=version) | Mismatch(current=int(version)):
                self._versions[key] = version

    # -- the sender thread --------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        engine = self.engine
        now_ms = self.clock.now_ms()
        engine.tick(now_ms)
        for call in engine.next_calls(now_ms):
            self._call(call, now_ms)
        self._tell_ended()
        tick_ms = engine.next_tick_ms(now_ms)
        if tick_ms is not None:
            delay_us = max(1000, self.clock.until_us(tick_ms))
            at_us = self._timeline.now_us + delay_us
            if self._wake_us is None or at_us < self._wake_us:
                self._wake_us = at_us
                self._timeline.after(delay_us, self, self._wake, at_us)

    def _wake(self, at_us: int) -> None:
        if at_us == self._wake_us:
            self._wake_us = None
            self._pump()

    def _call(self, call: Call, now_ms: int) -> None:
        world, server = self.world, self.world.callee(self, call.member_id)
        if server.server is None and world.dice.random() < 0.3:
            self.engine.not_sent(call.number, now_ms)  # Ray knows already that it is gone
            return
        self._open_calls[call.number] = call
        place, method, number, copies = f"s{server.member_id}", call.kind.method, call.number, Copies()

        def reply(data: bytes) -> None:
            world.network.send(Message(place, self.name, method, REPLY), self, answered, data, self._fail(number))

        def answered(data: object) -> None:
            self._answered(number, data)

        def arrives(data: object) -> None:
            server.client_calls(method, data, copies, reply, fail)

        def fail() -> None:
            world.timeline.after(world.dead_call_us(), self, self._answered, number, None)

        world.network.send(Message(self.name, place, method, REQUEST), None, arrives, call.data, self._fail(number))

    def _fail(self, number: int) -> Callable[[int], object]:
        return lambda delay_us: self._timeline.after(delay_us, self, self._answered, number, None)

    def _answered(self, number: int, data: object) -> None:
        if self._open_calls.pop(number, None) is None:
            return  # Ray ends a call once
        assert data is None or type(data) is bytes, "a server answers in bytes"
        self.engine.answered(number, data, self.clock.now_ms())
        self._pump()

    # -- its end ------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The process ends; what was under way may happen or not."""
        self.alive = False
        for number, wanted in self.under_way.items():
            self.world.operation_ended(self, number, wanted, Outcome.UNKNOWN)
        self.under_way = {}


def request_of(wanted: Wanted) -> bytes:
    """What the machine gets; a write's bytes are its own, as its value is."""
    value = Encoded(bytes([ValueKind.STR]) + (wanted.value or "").encode())
    match wanted.op:
        case "append":
            return encode_append(wanted.key, value, limits=LIMITS)
        case "put":
            return encode_put(wanted.key, value, if_version=wanted.if_version, limits=LIMITS)
        case "delete":
            return encode_delete(wanted.key, limits=LIMITS)
        case _:
            return encode_get([wanted.key], limits=LIMITS)


def _outcome(wanted: Wanted, ended: Ended) -> tuple[Outcome, Result | None, bytes | None]:
    """The outcome; of an operation that the store computed its result, and the machine's own bytes."""
    if isinstance(ended.result, OperationError):
        return Outcome(ended.result.outcome), None, None
    return Outcome.OK, result_of(wanted, ended.result), ended.result


def result_of(wanted: Wanted, answer: bytes) -> Result:
    """What the machine's bytes say."""
    match wanted.op:
        case "append" | "put":
            return written(answer)
        case "delete":
            return Deleted(found=decode_deleted(answer))
        case _:
            [found] = decode_found(answer, [wanted.key])
            if found is None:
                return Found(value=UNSEEN, version=0)
            return Found(value=found.value.data[1:].decode(), version=found.version)
