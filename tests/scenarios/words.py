"""The words of a story: each makes one thing happen, most are one call of `tests.rig.rig.Group`.

Here:   `COMMANDS`, and the small functions behind it, except for those in disk_words.py and change_words.py.
Never:  verdicts. What must be true after every event is checked by the group itself.

Members are numbers from 1. MESSAGES stands for a choice of messages under way: `1 2` from 1 to 2, `* 2` to 2, `append`,
`vote`, `hello`, `chains`, `install`, `slice`, `join` by method, `request`, `reply` by part; nothing: all of them.
ATTEMPT stands for `c1`, command 1 of client c, or `c1#2`, its second attempt.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby
from typing import Final, TypedDict

from raft_actors.application.frames import Frame
from raft_actors.application.requests import Attempt
from raft_actors.core.types import MemberId
from raft_actors.envelopes import Hello, decode_envelope, decode_hello, encode_envelope, encode_hello
from raft_actors.errors import StorageError
from raft_actors.peer.engine import Engine
from tests.application.builders import Journal, client
from tests.rig.member import LATE_MS
from tests.rig.network import RUN_SHOWN_MAX, Flight
from tests.rig.rig import Group
from tests.scenarios.change_words import CHANGE_COMMANDS
from tests.scenarios.disk_words import DISK_COMMANDS
from tests.scenarios.scene import Scene, Word, each, options_of


class Messages(TypedDict, total=False):
    """Which messages under way are meant."""

    src: int | None
    dst: int | None
    method: str
    part: str


METHODS: Final = {
    "append": "append_entries",
    "vote": "request_vote",
    "hello": "hello",
    "chains": "report_chains",
    "install": "install_snapshot",
    "slice": "read_snapshot",
    "join": "join",
}


def _messages(words: list[str]) -> Messages:
    chosen = Messages()
    ends = [None if word == "*" else int(word) for word in words if word == "*" or word.isdigit()]
    if ends:
        chosen["src"], chosen["dst"] = ends
    for word in words:
        if word in METHODS:
            chosen["method"] = METHODS[word]
        elif word in ("request", "reply"):
            chosen["part"] = word
        else:
            assert word == "*" or word.isdigit(), f"{word!r} chooses no message"
    return chosen


# -- messages ---------------------------------------------------------------------------------------------------------


def _deliver(scene: Scene, words: list[str]) -> None:
    """`deliver MESSAGES`: they arrive, and so do those that follow from them and are chosen too, until none is left."""
    scene.group.deliver_all(**_messages(words))


def _deliver_one(scene: Scene, words: list[str]) -> None:
    """`deliver-one MESSAGES`: the oldest of them arrives."""
    scene.group.deliver(**_messages(words))


def _drop(scene: Scene, words: list[str]) -> None:
    """`drop MESSAGES`: they are lost, on cut links too."""
    scene.group.drop(**_messages(words))


def _duplicate(scene: Scene, words: list[str]) -> None:
    """`duplicate MESSAGES`: they will arrive once more, last of all."""
    scene.group.duplicate(**_messages(words))


def _hold(scene: Scene, words: list[str]) -> None:
    """`hold MESSAGES`: they wait somewhere in the network, and are chosen by no other word, until `release`."""
    network = scene.group.network
    for flight in list(network.select(**_messages(words), over_cuts=True)):
        network.take(flight)
        scene.held.append(flight)


def _release(scene: Scene, words: list[str]) -> None:
    """`release`: those that were held are under way again, before all others."""
    network = scene.group.network
    network.flights, scene.held = scene.held + network.flights, []


def _reverse(scene: Scene, words: list[str]) -> None:
    """`reverse`: all messages under way change their order."""
    scene.group.reverse()


def _foreign(scene: Scene, words: list[str]) -> None:
    """`foreign MESSAGES`: they turn into messages of another cluster."""
    network = scene.group.network
    chosen = list(network.select(**_messages(words), over_cuts=True))
    network.flights = [_of_another_cluster(flight) if flight in chosen else flight for flight in network.flights]


def _of_another_cluster(flight: Flight) -> Flight:
    assert flight.data is not None, "a call that failed says nothing of a cluster"
    if flight.method == "join":
        return flight  # it says of which cluster one shall be
    if flight.method == "hello":
        hello: Hello = decode_hello(flight.data)
        return replace(flight, data=encode_hello(replace(hello, cluster_id=bytes(16))))
    return replace(flight, data=encode_envelope(replace(decode_envelope(flight.data), cluster_id=bytes(16))))


def _partition(scene: Scene, words: list[str]) -> None:
    """`partition 1,2 3`: all links between the sides are cut."""
    scene.group.partition(*([int(number) for number in side.split(",")] for side in words))


def _cut(scene: Scene, words: list[str]) -> None:
    """`cut 1 2`: what 1 sends to 2 waits until `heal`."""
    scene.group.cut(int(words[0]), int(words[1]))


def _heal(scene: Scene, words: list[str]) -> None:
    """`heal`: all links work; what waited may arrive."""
    scene.group.heal()


# -- time -------------------------------------------------------------------------------------------------------------


def _lead(scene: Scene, words: list[str]) -> None:
    """`lead 1`: as `elect`, and no more is told than the term."""
    group = scene.group
    told = len(group.story)
    group.elect(int(words[0]))
    group.story[told:] = [f"{words[0]} leads in term {group.state(int(words[0])).current_term}"]


def _quietly(scene: Scene, words: list[str]) -> None:
    """As `deliver`, but the messages themselves are not told; `quietly 700`: while 700 ms pass; `quietly WORD ...`."""
    group = scene.group
    told = len(group.story)
    if words and not words[0].isdigit():
        group.story += COMMANDS[words[0]](scene, words[1:]) or []
    else:
        if words:
            group.pass_time(int(words[0]))
        group.deliver_all()
    group.story[told:] = [line for line in group.story[told:] if " -> " not in line]


def _pass(scene: Scene, words: list[str]) -> None:
    """`pass 700`: 700 ms pass, timers fire, leaders beat, messages arrive, and all of it is told."""
    scene.group.pass_time(int(words[0]))


def _clock(scene: Scene, words: list[str]) -> None:
    """`clock 700`: 700 ms pass while nobody gets a word in; a pause of everything."""
    scene.group.clock.time_ms += int(words[0])


def _look(scene: Scene, words: list[str]) -> None:
    """`look 1 2`: the owner looks at its election timer, which fires only if it is due."""
    for word in words:
        member = scene.member(word)
        deadline = member.running().election_timer.deadline
        if deadline is None or deadline.at_ms > scene.group.clock.time_ms:
            scene.group.tell(f"{word} has time")
        else:
            scene.group.timeout(int(word))


def _timers(scene: Scene, words: list[str]) -> list[str]:
    """`timers 1 2`: how long until the election timer of each fires."""
    lines = []
    for word in words:
        deadline = scene.member(word).running().election_timer.deadline
        wait = "no election timer" if deadline is None else f"{deadline.at_ms - scene.group.clock.time_ms} ms"
        lines.append(f"{word}: {wait}")
    return lines


def _tick(scene: Scene, words: list[str]) -> None:
    """`tick 1`: the owner looks at deadlines that nothing else would notice."""
    for word in words:
        scene.group._event(scene.member(word), Engine.tick)


# -- clients ----------------------------------------------------------------------------------------------------------


def _propose(scene: Scene, words: list[str]) -> list[str]:
    """`propose 1 x [bytes=1000]`: a command without a session; x is repeated to fill the bytes."""
    (number, command), options = options_of(words)
    size = int(options.get("bytes", len(command)))
    return [str(scene.group.propose(int(number), (command * size)[:size].encode()))]


ATTEMPT: Final = re.compile(r"([a-z]+)(\d+)(?:#(\d+))?")


def _submit(scene: Scene, words: list[str]) -> None:
    """`submit 1 ATTEMPT ... [opens=0] [acked_below=2]`: attempts reach 1 as one batch; their ends are told."""
    (number, *labels), options = options_of(words)
    opens = options.get("opens")
    attempts = []
    for label in labels:
        match = ATTEMPT.fullmatch(label)
        assert match is not None, f"{label!r} is no attempt"
        name, sequence, again = match.groups()
        frame = Frame(
            client_id=client(name),
            sequence=int(sequence),
            acked_below=int(options.get("acked_below", 0)),
            opens=None if opens is None else int(opens),
            command=f"{name}{sequence}".encode(),
        )
        attempts.append(Attempt(number=int(again or 1), frame=frame))
    scene.submit(int(number), labels, attempts)


def _read(scene: Scene, words: list[str]) -> None:
    """`read 1`: a client asks 1 for all that was applied, nothing older than now will do; its end is told."""
    scene.read(int(words[0]))


def _give_up(scene: Scene, words: list[str]) -> None:
    """`give-up 1`: the deadlines of all who wait at the application of 1 have come."""
    application = scene.application(words[0])
    application.host.expire(LATE_MS)
    application.take_answers()


# -- processes --------------------------------------------------------------------------------------------------------


def _restart(scene: Scene, words: list[str]) -> None:
    """`restart 1 2`: new processes on the disks; they say hello, their applications attach. Or a disk is refused."""
    for word in words:
        try:
            scene.group.restart(int(word))
        except StorageError as refusal:
            scene.group.tell(f"{word} does not start, {type(refusal).__name__}: {refusal}")
            continue
        storage = scene.member(word).storage
        assert storage is not None
        if storage.recovered.torn_bytes:
            scene.group.tell(f"{word} dropped a torn tail of {storage.recovered.torn_bytes} bytes")


class _Wrong(Journal):
    """Not deterministic: it answers differently from the others."""

    def apply(self, index: int, command: bytes) -> bytes:
        return super().apply(index, command) + b"!"


def _miscompute(scene: Scene, words: list[str]) -> None:
    """`miscompute 1`: from now on the state machine of 1 computes something else than the others."""
    for word in words:
        host, machine = scene.application(word).host, _Wrong()
        machine.commands = list(scene.application(word).journal.commands)
        host._machine = machine
        scene.group.checks.known_to_differ.add(MemberId(int(word)))


def _misled(scene: Scene, words: list[str]) -> None:
    """`misled 2`: what the state machine of 2 computes from now on is wrong, and the checks know: its snapshot is."""
    scene.group.checks.known_to_differ.update(MemberId(int(word)) for word in words)


# -- snapshots --------------------------------------------------------------------------------------------------------


def _save(scene: Scene, words: list[str]) -> list[str]:
    """`save 1 2`: somebody asks 1, and 2, for a snapshot; what he is told at once."""
    return [str(answer) for answer in map(scene.group.save, map(int, words)) if answer is not None]


def _snapshots(scene: Scene, words: list[str]) -> list[str]:
    """`snapshots`: what stands before the log of all that run, and their newest snapshots."""
    members = scene.group.members.items()
    return [f"{number} {scene.group.snapshots(number)}" for number, member in members if member.engine is not None]


# -- looking ----------------------------------------------------------------------------------------------------------


def _show(scene: Scene, words: list[str]) -> list[str]:
    """`show`: role, term, log as the paper draws it (terms; `20*2` for twenty), commit index of all that run."""
    group = scene.group
    return [
        f"{number} {group.role(number).value} term={group.state(number).current_term} log=[{_log(group, number)}] "
        f"commit={group.commit(number)}"
        for number, member in group.members.items()
        if member.engine is not None
    ]


def _log(group: Group, number: int) -> str:
    runs = [(term, len(list(entries))) for term, entries in groupby(group.log(number).split())]
    return " ".join(f"{count}*{term}" if count > RUN_SHOWN_MAX else " ".join([term] * count) for term, count in runs)


def _applied(scene: Scene, words: list[str]) -> list[str]:
    """`applied`: the commands that each application has applied."""
    return [
        f"{number} applied [{' '.join(command.decode()[:8] for command in scene.group.applied(number))}]"
        for number, member in scene.group.members.items()
        if member.application is not None
    ]


def _dropped(scene: Scene, words: list[str]) -> list[str]:
    """`dropped`: messages that were not obeyed, by member and reason."""
    return [
        f"{number} dropped {reason}: {count}"
        for number, member in scene.group.members.items()
        if member.engine is not None
        for reason, count in sorted(member.engine.dropped.items())
    ]


COMMANDS: Final[dict[str, Word]] = {
    "group": Scene.begin,
    # messages
    "deliver": _deliver,
    "deliver-one": _deliver_one,
    "drop": _drop,
    "duplicate": _duplicate,
    "hold": _hold,
    "release": _release,
    "reverse": _reverse,
    "foreign": _foreign,
    "partition": _partition,
    "isolate": each(Group.isolate),
    "cut": _cut,
    "heal": _heal,
    # time
    "elect": each(Group.elect),
    "lead": _lead,
    "timeout": each(Group.timeout),
    "beat": each(Group.beat),
    "quietly": _quietly,
    "pass": _pass,
    "clock": _clock,
    "look": _look,
    "tick": _tick,
    # clients
    "propose": _propose,
    "submit": _submit,
    "read": _read,
    "give-up": _give_up,
    **DISK_COMMANDS,
    **CHANGE_COMMANDS,
    # processes
    "crash": each(Group.crash),
    "wipe": each(Group.wipe),
    "restart": _restart,
    "crash-application": each(Group.crash_application),
    "attach": each(Group.start_application),
    "hold-application": each(Group.hold_application),
    "release-application": each(Group.release_application),
    "reverse-calls": each(Group.reverse_application_calls),
    "hold-answers": each(Group.hold_proposal_answers),
    "release-answers": each(Group.release_proposal_answers),
    "miscompute": _miscompute,
    "misled": _misled,
    # snapshots
    "save": _save,
    "hold-restore": each(Group.hold_restore),
    "release-restore": each(Group.release_restore),
    "snapshots": _snapshots,
    # looking
    "show": _show,
    "timers": _timers,
    "applied": _applied,
    "dropped": _dropped,
}
