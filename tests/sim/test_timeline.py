"""Simulated time: processes that stand still, go on, and end in the middle of that."""

from __future__ import annotations

from tests.sim.timeline import Process, Timeline


def paused_while_three_came(every_us: int = 0) -> tuple[Timeline, Process, list[int]]:
    """A process that stands still, what came meanwhile, and what it has seen of that."""
    timeline, process, seen = Timeline(), Process("p"), list[int]()
    process.paused = True
    for number in range(3):
        timeline.after(number * every_us, process, seen.append, number)
    timeline.play(3)
    return timeline, process, seen


class TestAProcessThatIsPaused:
    def test_what_came_meanwhile_is_there_at_once_in_its_order(self) -> None:
        timeline, process, seen = paused_while_three_came(every_us=1)
        assert seen == []
        timeline.resume(process)
        timeline.play(3)
        assert (seen, timeline.now_us) == ([0, 1, 2], 2)

    def test_paused_again_while_it_catches_up_it_goes_on_where_it_was(self) -> None:
        timeline, process, seen = paused_while_three_came()
        timeline.resume(process)
        timeline.play(1)
        process.paused = True
        timeline.after(5, process, seen.append, 3)
        timeline.play(10)
        assert seen == [0]
        timeline.resume(process)
        timeline.play(20)
        assert seen == [0, 1, 2, 3]

    def test_ended_while_it_catches_up_it_still_has_what_it_did_not_look_at(self) -> None:
        """World 30078 of K1: those calls were told to nobody, and a caller waited for them for ever."""
        timeline, process, seen = paused_while_three_came()
        timeline.resume(process)
        timeline.play(1)
        process.alive = False
        timeline.play(10)
        assert seen == [0]
        assert [arguments for _, arguments in process.backlog] == [(1,), (2,)]
