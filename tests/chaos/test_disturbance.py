"""The loop of faults: every kind comes, those that must wait come later, all end; what was hit is free again."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from raft_actors.errors import FaultFailed
from tests.chaos import disturbance
from tests.chaos.disturbance import Begun, Deck, Disturbance, Kind, name_of
from tests.chaos.members import Members, NotNow


class Log(Members):
    """Members that nobody asks; what kinds did to them."""

    def __init__(self) -> None:
        super().__init__("nobody", 3, Random(1))
        self.said: list[str] = []


def brief(log: Log) -> Begun:
    """Over when it begins."""
    log.said.append("brief")
    return Begun()


def lasting(log: Log) -> Begun:
    """Ends later; hits nobody who is hit."""
    assert 1 not in log.hit
    log.said.append("lasting")
    return Begun(end=lambda: log.said.append("end"), lasts_s=(0.01, 0.02), hits=frozenset({1}))


def toothless(log: Log) -> Begun:
    """Says that it did nothing."""
    log.said.append("toothless")
    return Begun(bit=lambda: False)


def refused(log: Log) -> Begun:
    """Has nobody to hit."""
    log.said.append("refused")
    raise NotNow("nobody")


def failing(log: Log) -> Begun:
    """Cannot be done."""
    raise FaultFailed("the injector is gone")


def clumsy(log: Log) -> Begun:
    """Cannot be ended."""

    def end() -> None:
        raise FaultFailed("it does not go on")

    return Begun(end=end, lasts_s=(0.0, 0.0))


def played(monkeypatch: pytest.MonkeyPatch, *kinds: Kind[Log], seconds: float = 0.2) -> tuple[Log, Disturbance[Log]]:
    """For a moment, one fault right after the other."""
    monkeypatch.setattr(disturbance, "APART_S", (0.03, 0.03))
    monkeypatch.setattr(disturbance, "LOOK_S", 0.001)
    log = Log()
    loop = Disturbance(log, kinds)
    loop.go_on_for(seconds)
    return log, loop


def test_a_deck_deals_each_as_often_as_any_other() -> None:
    deck: Deck[Log] = Deck([brief, lasting, toothless], Random(3))
    dealt = Counter(name_of(deck.deal()) for _ in range(30))
    assert dealt == {"brief": 10, "lasting": 10, "toothless": 10}


def test_what_is_put_back_comes_before_the_deck_begins_anew() -> None:
    deck: Deck[Log] = Deck([brief, lasting, toothless], Random(3))
    first = deck.deal()
    deck.put_back(first)
    assert {name_of(deck.deal()) for _ in range(3)} == {"brief", "lasting", "toothless"}


@pytest.mark.slow
def test_every_kind_is_played_and_what_bit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    log, loop = played(monkeypatch, brief, toothless)
    bitten = loop.bitten()
    assert bitten["brief"] == log.said.count("brief") > 0
    assert bitten["toothless"] == 0 < log.said.count("toothless")
    assert loop.count == len(log.said)


@pytest.mark.slow
def test_all_that_lasts_is_ended_and_nobody_stays_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = played(monkeypatch, lasting)
    assert log.said.count("end") == log.said.count("lasting") > 0
    assert log.hit == set()


@pytest.mark.slow
def test_one_that_must_wait_lets_others_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    log, loop = played(monkeypatch, refused, brief)
    assert log.said.count("refused") > 0
    assert log.said.count("brief") > 0
    assert set(loop.bitten()) == {"brief"}


@pytest.mark.slow
def test_what_the_injector_could_not_do_is_told_and_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    _, loop = played(monkeypatch, failing, clumsy)
    assert any(said.startswith("failing: the injector is gone") for said in loop.failures)
    assert any(said.startswith("the end of clumsy: it does not go on") for said in loop.failures)
    assert set(loop.bitten()) == {"clumsy"}
