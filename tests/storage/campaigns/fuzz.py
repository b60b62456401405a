"""K16: lies told to every decoder. It answers, or refuses with its declared error, and takes little memory for either.

Here:   `run_unit`: so many changed inputs for the decoders in turn; how bytes are changed; what is judged.
Never:  the decoders (decoders.py, on_disk.py).

An input is a good one that was changed, up to eight times: bits, bytes, numbers at the border of what a field holds,
parts cut out, repeated, exchanged with those of other inputs; or one that announces far more than it holds, a list in
a list in a list, or noise. Where a checksum would catch that, half of the inputs get a good one again.

What a decoder accepts must survive the way: it encodes to bytes that are decoded to the same, and to the very same
bytes where each value has one form only.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

from tests.campaigns import Finding, Outcome
from tests.storage.campaigns.decoders import DECODERS
from tests.storage.campaigns.found import Found, expect, trace
from tests.storage.campaigns.memory import measured, tracing
from tests.storage.campaigns.target import Decoder

INPUTS_PER_UNIT: Final = 2_000
"""Of all decoders together; about a second."""

CHANGES_MAX: Final = 8
INPUT_BYTES_MAX: Final = 64 * 1024
SHOWN_BYTES_MAX: Final = 600
"""Of an input in a finding; the unit makes it again."""

BORDERS: Final = tuple(
    sorted({number + near for bits in (0, 7, 8, 15, 16, 31, 32, 63, 64) for number in (1 << bits,) for near in (-1, 0)})
)
"""Numbers at which a field, a sign or a length ends."""

Change: TypeAlias = Callable[[random.Random, bytearray], None]


# -- changes ------------------------------------------------------------------------------------------------------


def _flip(dice: random.Random, data: bytearray) -> None:
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _set(dice: random.Random, data: bytearray) -> None:
    if data:
        data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xC0, 0xFF, dice.randrange(256)))


def _border(dice: random.Random, data: bytearray) -> None:
    """A number of 1 to 8 bytes, of either byte order, becomes one of those at which things end."""
    size = dice.choice((1, 2, 4, 8))
    if len(data) >= size:
        at = dice.randrange(len(data) - size + 1)
        number = dice.choice(BORDERS) & ((1 << 8 * size) - 1)
        data[at : at + size] = number.to_bytes(size, dice.choice(("little", "big")))


def _step(dice: random.Random, data: bytearray) -> None:
    """A number becomes one more or one less."""
    if data:
        at = dice.randrange(len(data))
        data[at] = (data[at] + dice.choice((-1, 1))) & 0xFF


def _cut(dice: random.Random, data: bytearray) -> None:
    del data[dice.randrange(len(data) + 1) :]


def _part(dice: random.Random, data: bytearray) -> tuple[int, int]:
    at = dice.randrange(len(data) + 1)
    return at, min(len(data), at + dice.choice((1, 2, 4, 8, 28, dice.randrange(1, 200))))


def _remove(dice: random.Random, data: bytearray) -> None:
    at, end = _part(dice, data)
    del data[at:end]


def _repeat(dice: random.Random, data: bytearray) -> None:
    at, end = _part(dice, data)
    to = dice.randrange(len(data) + 1)
    data[to:to] = data[at:end] * dice.choice((1, 1, 2, 300))


def _insert(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.randbytes(dice.choice((1, 2, 4, 8, 100)))


def _announce(dice: random.Random, data: bytearray) -> None:
    """msgpack's word for a list, map, text or extension of many elements, here or within each other."""
    word = dice.choice((b"\xdd", b"\xdc", b"\xdf", b"\xde", b"\xc6", b"\xdb", b"\xc9", b"\x91", b"\x81", b"\xc7"))
    width = {0xDD: 4, 0xDF: 4, 0xC6: 4, 0xDB: 4, 0xC9: 4, 0xDC: 2, 0xDE: 2, 0xC7: 1}.get(word[0], 0)
    count = dice.choice((len(data), 65_535, 65_536, 20_000, 1 << 20, (1 << 32) - 1)) & ((1 << 8 * width) - 1)
    at = dice.choice((0, 1, dice.randrange(len(data) + 1)))
    lie = (word + count.to_bytes(width, "big")) * dice.choice((1, 1, 3, 500, 1_020, 1_030))
    data[at:at] = lie
    if dice.random() < 0.3:
        data += b"\xc0" * dice.choice((100, 20_000))  # elements enough for some of what was announced


CHANGES: Final[tuple[Change, ...]] = (
    _flip, _flip, _set, _border, _border, _step, _cut, _remove, _repeat, _insert, _announce,
)  # fmt: skip


def changed(dice: random.Random, decoder: Decoder) -> bytes:
    """An input that is not good, or only by chance."""
    data = bytearray(dice.choice(decoder.samples))
    kind = dice.random()
    if kind < 0.03:
        data = bytearray(dice.randbytes(dice.choice((0, 1, 2, 10, 100, 1_000))))
    elif kind < 0.10:  # the head of one, the tail of another
        other = dice.choice(dice.choice(DECODERS).samples if kind < 0.05 else decoder.samples)
        data[dice.randrange(len(data) + 1) :] = other[dice.randrange(len(other) + 1) :]
    for _ in range(dice.choice((1, 1, 1, 2, 3, CHANGES_MAX))):
        dice.choice(CHANGES)(dice, data)
    del data[INPUT_BYTES_MAX:]
    if decoder.seal is not None and dice.random() < 0.5:
        return decoder.seal(bytes(data))
    return bytes(data)


# -- what is judged -----------------------------------------------------------------------------------------------


def judge(decoder: Decoder, data: bytes) -> str:
    """Decode, measured; in a word what came of it. Raises `Found`."""
    refused = False
    try:
        value = measured(partial(decoder.decode, data), True)
    except Found:
        raise
    except decoder.errors:
        refused = True
    except Exception as failure:
        raise Found("not the declared error", trace(failure)) from failure
    if refused:
        return "refused"
    if decoder.encode is None:
        return "accepted"
    try:
        again = decoder.encode(value)
    except Exception as failure:
        raise Found("accepted what cannot be encoded", trace(failure)) from failure
    if again is None:
        return "accepted, of a form that we never write"
    if decoder.exact:
        expect(again == data, "two forms of one value", f"encoded anew: {_shown(again)}")
        return "accepted, the same bytes"
    _expect_stable(decoder, again)
    return "accepted, survives the way"


def _expect_stable(decoder: Decoder, data: bytes) -> None:
    """What we encode is decoded to what encodes to the same: values may hold a NaN, so they are not compared."""
    assert decoder.encode is not None, "asked only where there is a way back"
    try:
        value: Any = decoder.decode(data)
        again = decoder.encode(value)
    except Exception as failure:
        raise Found("does not survive the way", trace(failure)) from failure
    expect(again == data, "does not survive the way", f"{_shown(data)}\nand then {_shown(again or b'')}")


def _shown(data: bytes) -> str:
    more = f"... ({len(data)} bytes)" if len(data) > SHOWN_BYTES_MAX else ""
    return data[:SHOWN_BYTES_MAX].hex() + more


# -- a unit -------------------------------------------------------------------------------------------------------


@tracing()
def run_unit(unit: int, *, inputs: int = INPUTS_PER_UNIT) -> Outcome:
    """The good inputs as they are, then `inputs` changed ones, from the dice of this unit."""
    dice = random.Random(unit)
    tally: Counter[str] = Counter()
    cases = [(decoder, sample) for decoder in DECODERS for sample in decoder.samples]
    for number in range(-len(cases), inputs):
        if number < 0:
            decoder, data = cases[number]
        else:
            decoder = DECODERS[number % len(DECODERS)]
            data = changed(dice, decoder)
        try:
            said = judge(decoder, data)
            good_refused = number < 0 and decoder.exact and said == "refused"
            expect(not good_refused, "a good one is refused", decoder.name)
        except Found as found:
            replay = f"python -m tests.storage.campaigns k16 --first {unit} --count 1"
            text = f"{decoder.name}, input {number}: {_shown(data)}\n{found.text}"
            finding = Finding(rule=found.rule, text=text, replay=replay)
            return Outcome(done=max(number + 1, 0), counters=tally, findings=(finding,))
        if number >= 0:
            tally[said] += 1
    return Outcome(done=inputs, counters=tally)
