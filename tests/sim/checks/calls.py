"""Calls between peers: what they promise, how many are open, how often they are answered.

Here:   `Calls`: no message leaves before what it promises is durable (DESIGN 4); every received request is answered at
        most once; the call window holds exactly the calls that are under way.
Never:  whether a message arrives (the world), what it says otherwise (the core).
"""

from __future__ import annotations

from collections import Counter

from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Envelope,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    PreVote,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
    TimeoutNowReply,
)
from raft_actors.core.types import DirectoryId, EntryId, MemberId, RequestId, RpcId
from raft_actors.peer.engine import PENDING_CALLS_MAX
from raft_actors.peer.window import CallKind, kind_of
from tests.sim.checks.disks import Disk, Disks
from tests.sim.checks.peers import Peer
from tests.sim.checks.tree import Tree
from tests.sim.checks.violation import Violation, name_of


class _Open:
    """What one process has under way, and what it was asked."""

    __slots__ = ("asked", "calls", "freed", "frees", "to")

    def __init__(self) -> None:
        self.calls: dict[RpcId, tuple[MemberId, CallKind]] = {}
        """Made, not ended, and holding a slot."""
        self.to: Counter[tuple[MemberId, CallKind]] = Counter()
        """How many of them."""
        self.freed: set[RpcId] = set()
        """Made and not ended; their slots were freed by a new incarnation of their target."""
        self.frees: Counter[MemberId] = Counter()
        """How often that happened."""
        self.asked: dict[RequestId, tuple[DirectoryId, Message]] = {}
        """Received and not answered."""


class Calls:
    """The calls of all members."""

    def __init__(self, tree: Tree, disks: Disks) -> None:
        self._tree = tree
        self._disks = disks
        self._open: dict[MemberId, _Open] = {}
        self._starts: Counter[MemberId] = Counter()

    def started(self, member_id: MemberId, place: MemberId | None = None) -> None:
        """A process began: nothing is under way, nothing was asked. `place`: by which others know it, if by another
        number."""
        self._open[member_id] = _Open()
        self._starts[member_id if place is None else place] += 1

    def waiting(self, member_id: MemberId) -> int:
        """Requests received and not answered."""
        return len(self._open[member_id].asked)

    # -- requests -----------------------------------------------------------------------------------------------------

    def received(self, member_id: MemberId, request_id: RequestId, envelope: Envelope) -> None:
        """A request arrived."""
        asked = self._open[member_id].asked
        if request_id in asked:
            raise Violation("one answer", f"the world gave request {request_id} to member {member_id} twice")
        asked[request_id] = (envelope.incarnation.directory_id, envelope.message)

    def answered(self, peer: Peer, request_id: RequestId, envelope: Envelope | None) -> None:
        """It is answered; None: the caller learns that there is no answer."""
        asked = self._open[peer.member_id].asked.pop(request_id, None)
        if asked is None:
            raise Violation("one answer", f"{peer.name} answers request {request_id} twice, or was never asked")
        if envelope is not None:
            caller, request = asked
            self._require_reply_durable(peer, self._disks.of(peer.directory_id), caller, request, envelope.message)

    # -- calls --------------------------------------------------------------------------------------------------------

    def called(self, peer: Peer, rpc_id: RpcId, envelope: Envelope) -> None:
        """A call is made."""
        open_ = self._open[peer.member_id]
        message, to = envelope.message, envelope.to
        if isinstance(message, TimeoutNow):
            self._require_target(peer, message)
        self._require_request_durable(peer, self._disks.of(peer.directory_id), message)
        if rpc_id in open_.calls or rpc_id in open_.freed:
            raise Violation("calls in flight", f"{peer.name} makes call {rpc_id} twice")
        slot = (to, kind_of(message))
        open_.calls[rpc_id] = slot
        open_.to[slot] += 1
        peer.calls_made += 1

    def call_ended(self, member_id: MemberId, rpc_id: RpcId) -> None:
        """A call ended, with an answer or without. It may have been of an earlier process."""
        open_ = self._open[member_id]
        slot = open_.calls.pop(rpc_id, None)
        if slot is None:
            open_.freed.discard(rpc_id)
        else:
            open_.to[slot] -= 1

    def after_event(self, peer: Peer) -> None:
        """The window must hold the calls that are under way: a slot is freed by the end of its call or by a new
        incarnation of its target, never by its deadline (DESIGN 4, "Bounds")."""
        open_ = self._open[peer.member_id]
        window = peer.engine.window
        if len(window) != len(open_.calls):
            self._freed(peer, open_)
            if len(window) != len(open_.calls):
                raise Violation(
                    "calls in flight", f"{peer.name} counts {len(window)} calls, {len(open_.calls)} are under way"
                )
        peer.calls_made = 0

    def look_closer(self, peer: Peer) -> None:
        """Never more calls to one target and of one kind than Ray takes."""
        for (to, kind), count in self._open[peer.member_id].to.items():
            if count > PENDING_CALLS_MAX:
                raise Violation("calls in flight", f"{peer.name} has {count} {kind.value} calls to {to} open")

    def _freed(self, peer: Peer, open_: _Open) -> None:
        """Some slots are free whose calls are under way. Legal if their target has begun anew, then all that were open
        to it are; not more often than it has begun."""
        newest = list(open_.calls)[len(open_.calls) - peer.calls_made :]
        for to in {to: None for to, _ in open_.calls.values()}:
            under_way = [rpc_id for rpc_id, slot in open_.calls.items() if slot[0] == to]
            held = peer.engine.window.open_to(to)
            if held == len(under_way):
                continue
            freed = [rpc_id for rpc_id in under_way if rpc_id not in newest]
            open_.frees[to] += 1
            if held != len(under_way) - len(freed) or open_.frees[to] >= self._starts[to]:
                raise Violation(
                    "calls in flight",
                    f"{peer.name} counts {held} calls to {to}, {len(under_way)} are under way; it began "
                    f"{self._starts[to]} times",
                )
            for rpc_id in freed:
                open_.to[open_.calls.pop(rpc_id)] -= 1
                open_.freed.add(rpc_id)

    # -- promises -----------------------------------------------------------------------------------------------------

    def _require_request_durable(self, peer: Peer, disk: Disk, message: Message) -> None:
        """A candidate's vote for itself, and a leader's, are durable before anyone hears of its term (Raft §5.2)."""
        if isinstance(message, AppendEntries | RequestVote | InstallSnapshot):
            if disk.votes.get(message.term) != peer.directory_id:
                raise Violation(
                    "durable before it is said",
                    f"{peer.name} sends {type(message).__name__} of term {message.term}; its disk has term {disk.term} "
                    f"and its vote there for {name_of(disk.votes.get(message.term))}",
                )
        elif isinstance(message, PreVote):
            self._require_term(peer, disk, message.term, message)

    def _require_reply_durable(
        self, peer: Peer, disk: Disk, caller: DirectoryId, request: Message, reply: Message
    ) -> None:
        """ "Updated on stable storage before responding to RPCs" (Raft Fig. 2)."""
        self._require_term(peer, disk, reply.term, reply)
        if isinstance(reply, RequestVoteReply):
            if reply.vote_granted and disk.votes.get(reply.term) != caller:
                raise Violation(
                    "durable before it is said",
                    f"{peer.name} gives {name_of(caller)} its vote in term {reply.term}; on its disk it has "
                    f"{name_of(disk.votes.get(reply.term))}",
                )
        elif isinstance(reply, AppendEntriesReply) and reply.success and isinstance(request, AppendEntries):
            covered = request.entries[-1].id if request.entries else request.prev_entry
            self._require_entry(peer, disk, covered, reply)
        elif isinstance(reply, InstallSnapshotReply):
            self._require_covered(peer, disk, reply)
        elif isinstance(reply, TimeoutNowReply) and isinstance(request, TimeoutNow) and reply.campaigns:
            self._require_obeyed_rightly(peer, request, reply)

    def _require_target(self, peer: Peer, message: TimeoutNow) -> None:
        """ "Once the log entries have been brought up to date, the leader sends a TimeoutNow" (dissertation §3.10). Who
        has lost its disk since it answered, or follows a later leader, may lack them."""
        leading, last = peer.engine.state.leading, message.last_entry
        if leading is None or leading.transfer is None:
            return
        disk, node = self._disks.of(leading.transfer.to), self._tree.find(last.term, last.index)
        if (
            not disk.wiped
            and disk.term <= message.term
            and (node is None or not self._disks.holds(disk.directory_id, node))
        ):
            raise Violation(
                "who is told to lead holds the log",
                f"{peer.name} tells {name_of(disk.directory_id)} to lead, with {disk.nodes[-1]} of {last}",
            )

    def _require_obeyed_rightly(self, peer: Peer, request: TimeoutNow, reply: TimeoutNowReply) -> None:
        """In the leader's own term, and with the log that it described: a late copy deposes nobody. When the answer
        leaves, since its vote is on the disk, the sender may follow another leader, who wrote behind that log or over
        its end, in the term of the answer too."""
        last, log = request.last_entry, peer.log
        held = last.index < len(log) and log[last.index].term == last.term
        follows = log[last.index + 1 if held and last.index + 1 < len(log) else -1]
        ends = follows.term >= reply.term or (held and last.index == len(log) - 1)
        if reply.term != request.term + 1 or (not ends and peer.term <= reply.term):
            raise Violation(
                "who is told to lead holds the log",
                f"{peer.name} obeys in term {reply.term} what was said in {request.term} of {last}, and has {log[-1]}",
            )

    def _require_entry(self, peer: Peer, disk: Disk, covered: EntryId, reply: AppendEntriesReply) -> None:
        """The disk holds it; or held it, if it is in a later term by now, whose leader may have truncated it."""
        node = self._tree.find(covered.term, covered.index)
        held = node is not None and self._disks.holds(peer.directory_id, node)
        if not held and node is not None and reply.term < disk.term:
            held = peer.directory_id in node.durable_in
        if reply.match_index > covered.index or not held:
            raise Violation(
                "durable before it is said",
                f"{peer.name} acknowledges entries up to {reply.match_index} in term {reply.term}, asked about "
                f"{covered.term}/{covered.index}; its disk has {disk.nodes[-1]} and term {disk.term}",
            )

    def _require_covered(self, peer: Peer, disk: Disk, reply: InstallSnapshotReply) -> None:
        """What is committed here, and so is covered by what was offered, or is the reason why it is not needed."""
        index = reply.match_index
        committed = peer.engine.state.commit_index
        if not index <= committed < len(peer.log) or not self._disks.holds(peer.directory_id, peer.log[index]):
            raise Violation(
                "durable before it is said",
                f"{peer.name} says that it has everything up to {index}; it committed {committed}, its disk "
                f"has {disk.effective[-1]}",
            )

    def _require_term(self, peer: Peer, disk: Disk, term: int, message: Message) -> None:
        if term > disk.term:
            raise Violation(
                "durable before it is said",
                f"{peer.name} sends {type(message).__name__} of term {term}; its disk has term {disk.term}",
            )
