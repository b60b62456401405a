"""Every rule of tests/sim/checks can be broken: one thing is forged, and exactly that rule says so.

Here:   a group at rest (tests/rig) in which one field of one member is changed, disks that say what cannot be; and that
        no rule was left out.
Never:  calls, configurations, snapshots, machines, clients and the end (test_checks_of_*.py); whether the product keeps
        the rules.

Each of them begins with something that breaks no rule, and goes one step further.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.history import Op, Outcome
from raft_actors.core.effects import Append, HardState, Record, Truncate
from raft_actors.core.entries import Command, Entry
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, Role, Term
from raft_actors.storage.image import LogImage
from tests.core.builders import configuration, directory, log_of
from tests.core.builders import entry as log_entry
from tests.rig.member import Member
from tests.rig.rig import Group
from tests.sim.checks import Checks, Violation, checks

D1, D2, D3, D4 = (directory(number) for number in (1, 2, 3, 4))


@contextmanager
def breaks(rule: str, text: str = "") -> Iterator[None]:
    """What happens within breaks this rule, and no other one first."""
    with pytest.raises(AssertionError) as failed:
        yield
    broken = failed.value if isinstance(failed.value, Violation) else failed.value.__cause__
    assert isinstance(broken, Violation), f"no rule of the checks: {failed.value}"
    assert broken.rule == rule, str(broken)
    assert text in broken.text


def test_every_rule_is_broken_by_some_test() -> None:
    here = Path(__file__).parent
    rules = first_arguments("Violation", (here / "checks").glob("*.py"))
    assert len(rules) > 30
    assert rules - first_arguments("breaks", here.glob("test_checks*.py")) == set()


def first_arguments(function: str, paths: Iterable[Path]) -> set[str]:
    """Of all calls of this function, those that are written out."""
    calls = [
        node
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
    ]
    return {str(first.value) for call in calls if isinstance(first := call.args[0], ast.Constant)}


# -- a group at rest ---------------------------------------------------------------------------------------------------


def group_at_rest(size: int = 3) -> Group:
    """Member 1 leads term 1; its one entry is committed and applied by all."""
    group = Group(size)
    group.elect(1)
    group.propose(1, b"x")
    group.deliver_all()
    group.beat(1)
    group.deliver_all()
    return group


def look(group: Group, number: int, times: int = 1) -> None:
    for _ in range(times):
        group.checks.after_event(group.members[MemberId(number)])


def member(group: Group, number: int) -> Member:
    return group.members[MemberId(number)]


def rest(group: Group, *numbers: int) -> None:
    group.checks.at_rest([group.members[MemberId(number)] for number in numbers or group.members])


def leads(group: Group, number: int, term: int, *, voters: Iterable[int] | None = None) -> None:
    """It takes itself for the leader of this term, whatever it is; all have voted for it, or these."""
    state = group.state(number)
    for voter in group.members if voters is None else voters:
        group.checks._disks.of(group.state(voter).directory_id).votes[term] = state.directory_id
    state.current_term, state.voted_for, state.role = Term(term), state.directory_id, Role.LEADER


def second_entry(group: Group) -> None:
    """Member 1 has proposed one more, and no other one has heard of it."""
    group.propose(1, b"y")
    look(group, 1)


def acknowledge(group: Group, number: int, index: int, term: int) -> None:
    """A client's write is acknowledged at this place of the log."""
    group.checks.clients.invoked(number, client="c", op=Op.PUT, key="k", at=number)
    group.checks.clients.ended(number, at=number, outcome=Outcome.UNKNOWN, index=index, term=term)


def test_a_group_at_rest_breaks_no_rule() -> None:
    group = group_at_rest()
    for number in group.members:
        look(group, number, times=2 * checks.LOOK_EVERY)
    rest(group)
    assert group.checks.verdict() == []


class TestTermsAndVotes:
    def test_a_term_falls(self) -> None:
        group = group_at_rest()
        group.state(2).current_term = Term(0)
        with breaks("monotonic term"):
            look(group, 2)

    @pytest.mark.parametrize("vote", [None, D2])
    def test_a_vote_is_given_twice(self, vote: DirectoryId | None) -> None:
        group = group_at_rest()
        group.state(2).voted_for = vote
        with breaks("one vote per term"):
            look(group, 2)

    def test_two_lead_one_term(self) -> None:
        group = group_at_rest()
        group.state(2).role = Role.LEADER
        with breaks("election safety"):
            look(group, 2)

    def test_a_leader_lacks_a_committed_entry(self) -> None:
        group = group_at_rest()
        group.isolate(3)
        second_entry(group)
        group.deliver_all()
        leads(group, 3, term=2)
        with breaks("leader completeness"):
            look(group, 3)

    def test_an_entry_is_committed_that_a_later_leader_lacks(self) -> None:
        group = group_at_rest()
        group.isolate(3)
        second_entry(group)
        group.deliver(part="request", dst=2)
        leads(group, 3, term=2)
        look(group, 3)
        with breaks("leader completeness"):
            group.deliver(part="reply", dst=1)

    def test_a_leader_takes_another_term_without_an_election(self) -> None:
        group = group_at_rest()
        leads(group, 2, term=2)
        look(group, 2)
        group.state(1).current_term = Term(2)
        with breaks("election safety"):
            look(group, 1)

    @pytest.mark.parametrize("voters", [(2,), (1,)])
    def test_a_leader_lacks_votes(self, voters: tuple[int, ...]) -> None:
        group = group_at_rest()
        leads(group, 2, term=2, voters=(2, 3))
        look(group, 2)
        leads(group, 2, term=3, voters=voters)
        with breaks("elected by voters"):
            look(group, 2)

    def test_a_leader_is_elected_by_a_directory_that_is_no_voter(self) -> None:
        group = group_at_rest()
        group.checks._disks.of(D4).votes[2] = group.state(2).directory_id
        leads(group, 2, term=2, voters=(2,))
        with breaks("elected by voters", "1 votes of 3"):
            look(group, 2)


class TestLogs:
    def test_a_leader_loses_an_entry(self) -> None:
        group = group_at_rest()
        second_entry(group)
        group.state(1).log.truncate_from(LogIndex(2))
        with breaks("leader append-only"):
            look(group, 1)

    @pytest.mark.parametrize(("number", "term", "of"), [(2, 1, 1), (1, 2, 1)])
    def test_an_entry_that_no_leader_of_its_term_made(self, number: int, term: int, of: int) -> None:
        group = group_at_rest()
        if term == 2:
            leads(group, number, term)
            look(group, number)
        group.state(number).log.append([log_entry(of, 2, stamp_ms=10**9)])
        with breaks("only a leader makes entries"):
            look(group, number)

    def test_a_committed_entry_is_truncated(self) -> None:
        group = group_at_rest()
        group.state(2).log.truncate_from(LogIndex(1))
        with breaks("committed entries stay"):
            look(group, 2)

    def test_an_entry_is_changed_where_nobody_looks(self) -> None:
        group = group_at_rest()
        entries = group.state(2).log._entries
        entries[0] = replace(entries[0], payload=Command(data=bytes(len(entries[0].payload.data))))  # type: ignore[union-attr]
        look(group, 2)
        with breaks("log matching"):
            rest(group)

    def test_a_configuration_is_in_force_that_is_not_in_the_log(self) -> None:
        group = group_at_rest()
        group.state(2).configurations._history.append((LogIndex(1), configuration([1, 2])))
        group.propose(1, b"y")
        with breaks("configuration in force"):
            group.deliver_all()

    def test_a_configuration_is_in_force_that_is_another_one_in_the_log(self) -> None:
        group = group_at_rest()
        group.state(2).configurations._history[0] = (LogIndex(0), configuration([1, 2]))
        with breaks("configuration in force"):
            look(group, 2, times=checks.LOOK_EVERY)

    def test_a_leader_forgets_what_it_has_to_send(self) -> None:
        group = group_at_rest()
        second_entry(group)
        leading = group.state(1).leading
        assert leading is not None
        next(iter(leading.progress.values())).appends.clear()
        with breaks("sent or to be sent"):
            look(group, 1, times=checks.LOOK_EVERY)

    @pytest.mark.parametrize(
        ("held", "other"),
        [
            (log_of(1), [log_entry(1, 1, Command(data=b"other"))]),
            (log_of(1, 2), log_of(2, 2)),
        ],
        ids=["another entry", "another entry before it"],
    )
    def test_two_logs_differ_up_to_an_entry_that_both_hold(self, held: Sequence[Entry], other: Sequence[Entry]) -> None:
        checked = Checks()
        checked.wrote(D1, [Append(entries=tuple(held))])
        checked.wrote(D2, [Append(entries=tuple(held))])
        with breaks("log matching"):
            checked.wrote(D3, [Append(entries=tuple(other))])

    @pytest.mark.parametrize(
        "entries",
        [
            log_of(1, after=1),
            log_of(2, 1),
            (log_entry(1, 1, stamp_ms=5), log_entry(1, 2, stamp_ms=4)),
        ],
        ids=["a gap", "terms fall", "time falls"],
    )
    def test_a_log_is_out_of_order(self, entries: tuple[Entry, ...]) -> None:
        with breaks("log order"):
            Checks().wrote(D1, [Append(entries=entries)])

    def test_members_begin_with_two_configurations(self) -> None:
        with breaks("one genesis"):
            Group(3).checks.started(Group(5).members[MemberId(1)])


class TestCommits:
    def test_a_commit_index_falls(self) -> None:
        group = group_at_rest()
        group.state(2).commit_index = LogIndex(0)
        with breaks("monotonic commit"):
            look(group, 2)

    def test_a_commit_index_passes_the_log(self) -> None:
        group = group_at_rest()
        group.state(2).commit_index = LogIndex(2)
        with breaks("commit within the log"):
            look(group, 2)

    def test_two_entries_are_committed_at_one_index(self) -> None:
        group = group_at_rest()
        group.isolate(1)
        second_entry(group)
        group.elect(2)
        group.propose(2, b"z")
        group.deliver_all()
        assert (group.log(1), group.log(2), group.commit(2)) == ("1 1", "1 2", 2)
        group.state(1).commit_index = LogIndex(2)
        with breaks("committed entries differ"):
            look(group, 1)

    def test_an_entry_is_committed_that_no_majority_holds(self) -> None:
        group = group_at_rest()
        second_entry(group)
        group.state(1).commit_index = LogIndex(2)
        with breaks("committed is durable"):
            look(group, 1)

    def test_a_majority_loses_a_committed_entry(self) -> None:
        group = group_at_rest()
        truncation: list[Record] = [Truncate(from_index=LogIndex(1))]
        group.checks.wrote(group.state(2).directory_id, truncation)
        with breaks("committed is durable"):
            group.checks.wrote(group.state(3).directory_id, truncation)

    @pytest.mark.parametrize(("index", "term"), [(1, 2), (2, 1)])
    def test_a_write_is_acknowledged_at_a_place_that_is_not_committed(self, index: int, term: int) -> None:
        group = group_at_rest()
        acknowledge(group, 1, index=1, term=1)
        with breaks("acknowledged writes stay"):
            acknowledge(group, 2, index, term)


class TestDisks:
    def test_a_term_on_a_disk_falls(self) -> None:
        checked = Checks()
        checked.wrote(D1, [promise(2)])
        with breaks("monotonic term"):
            checked.wrote(D1, [promise(1)])

    @pytest.mark.parametrize("vote", [None, D3])
    def test_a_vote_on_a_disk_is_taken_back(self, vote: DirectoryId | None) -> None:
        checked = Checks()
        checked.wrote(D1, [promise(2), promise(2, D2), promise(2, D2)])
        with breaks("one vote per term"):
            checked.wrote(D1, [promise(2, vote)])

    def test_a_disk_is_truncated_where_it_holds_nothing(self) -> None:
        checked = Checks()
        checked.wrote(D1, [Append(entries=log_of(1)), Truncate(from_index=LogIndex(1))])
        with breaks("durable log"):
            checked.wrote(D1, [Truncate(from_index=LogIndex(1))])

    @pytest.mark.parametrize(
        "image",
        [
            LogImage(hard_state=HardState(term=Term(2), voted_for=D2), entries=list(log_of(1))),
            LogImage(hard_state=HardState(term=Term(2), voted_for=D2), entries=list(log_of(1, 1, 2))),
            LogImage(hard_state=HardState(term=Term(2), voted_for=D2), entries=list(log_of(1, 2))),
            LogImage(hard_state=HardState(term=Term(2), voted_for=D3), entries=list(log_of(1, 1))),
            LogImage(hard_state=HardState(term=Term(1), voted_for=None), entries=list(log_of(1, 1))),
            LogImage(),
        ],
        ids=["an entry less", "an entry more", "another entry", "another vote", "an older term", "nothing"],
    )
    def test_a_process_finds_something_else_than_was_durable(self, image: LogImage) -> None:
        checked = Checks()
        checked.wrote(D1, [promise(2, D2), Append(entries=log_of(1, 1))])
        checked.recovered(D1, checked.image_of(D1))
        with breaks("recovery"):
            checked.recovered(D1, image)

    @pytest.mark.parametrize("found", [1, 3, 2])
    def test_a_group_that_was_on_its_way_is_there_or_not_as_a_whole(self, found: int) -> None:
        group = group_at_rest()
        member, state = group.members[MemberId(2)], group.state(2)
        entries = [state.log.entry_at(LogIndex(1)), *log_of(1, 1, after=1)]
        entries[1:] = [replace(entry, stamp_ms=10**9) for entry in entries[1:]]
        group.checks.stopped(member, [Append(entries=tuple(entries[1:]))])
        image = replace(group.checks.image_of(state.directory_id), entries=entries[:found])
        if found != 2:
            group.checks.recovered(state.directory_id, image)
        else:
            with breaks("recovery"):
                group.checks.recovered(state.directory_id, image)

    def test_a_directory_that_was_wiped_is_written(self) -> None:
        group = group_at_rest()
        directory_id = group.state(2).directory_id
        group.wipe(2)
        with breaks("wiped"):
            group.checks.wrote(directory_id, [promise(3)])

    def test_a_directory_that_was_wiped_is_back(self) -> None:
        group = group_at_rest()
        directory_id = group.state(2).directory_id
        group.wipe(2)
        with breaks("wiped"):
            group.checks.recovered(directory_id, group.checks.image_of(directory_id))

    def test_a_process_begins_in_another_term_than_its_disk(self) -> None:
        group = group_at_rest()
        group.checks.started(group.members[MemberId(2)])
        group.state(2).current_term = Term(2)
        with breaks("promises are kept"):
            group.checks.started(group.members[MemberId(2)])

    def test_a_process_begins_without_an_entry_of_its_disk(self) -> None:
        group = group_at_rest()
        group.state(2).log.truncate_from(LogIndex(1))
        with breaks("promises are kept"):
            group.checks.started(group.members[MemberId(2)])

    def test_a_peer_takes_for_durable_what_is_on_its_way(self) -> None:
        group = group_at_rest()
        group.hold_disk(1)
        second_entry(group)
        group.state(1).durable_index = LogIndex(2)
        with breaks("durable is durable"):
            look(group, 1)

    def test_a_peer_takes_for_durable_what_it_does_not_hold(self) -> None:
        group = group_at_rest()
        group.state(2).durable_index = LogIndex(2)
        with breaks("durable is durable"):
            look(group, 2)


def promise(term: int, vote: DirectoryId | None = None) -> HardState:
    return HardState(term=Term(term), voted_for=vote)
