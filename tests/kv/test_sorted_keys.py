"""`SortedKeys` against its dumb twin, a list that is sorted anew each time."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kv import sorted_keys
from kv.sorted_keys import SortedKeys

KEYS = st.integers(0, 25).map(lambda number: b"%d" % number)  # few, so that many are removed again


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> object:
    """Blocks of 4 keys, so that a few keys cut and empty many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_keys, "BLOCK_KEYS_MAX", 4)
        yield


class TestSortedKeysAreASortedList:
    @settings(max_examples=40)
    @given(st.sets(KEYS, max_size=20), st.lists(KEYS, max_size=60), st.lists(KEYS, max_size=6))
    def test_after_any_changes(self, initial: set[bytes], toggled: list[bytes], starts: list[bytes]) -> None:
        twin = sorted(initial)
        keys = SortedKeys(twin)
        for key in toggled:
            if key in twin:
                twin.remove(key)
                keys.remove(key)
            else:
                twin.append(key)
                twin.sort()
                keys.add(key)
            assert len(keys) == len(twin)
        assert list(keys) == twin
        for start in [b"", *starts, *twin[:3]]:
            assert list(keys.walk_from(start)) == twin[bisect_left(twin, start) :]

    def test_a_block_never_outgrows_its_limit(self) -> None:
        keys = SortedKeys()
        for number in range(100):
            keys.add(b"%03d" % (number * 37 % 100))
            assert max(map(len, keys._blocks)) <= 4
        assert list(keys) == [b"%03d" % number for number in range(100)]

    def test_removing_what_is_not_there_is_our_own_bug(self) -> None:
        keys = SortedKeys([b"b"])
        for missing in (b"a", b"c"):
            with pytest.raises(AssertionError):
                keys.remove(missing)
