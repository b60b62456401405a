"""The limits on memory of the campaigns: what is over for one case, and what a process of theirs gets at all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.campaigns.outcome import ROOT
from tests.storage.campaigns.found import Found
from tests.storage.campaigns.memory import measured, tracing

MIB = 1 << 20


class TestMemory:
    def test_a_peak_is_seen_although_it_is_over(self) -> None:
        with pytest.raises(Found, match="too much memory"):
            measured(lambda: len(bytearray(65 * MIB)), True)
        assert measured(lambda: len(bytearray(60 * MIB)), True) == 60 * MIB

    def test_what_was_there_before_does_not_count_while_tracing_goes_on(self) -> None:
        with tracing():
            kept = bytearray(60 * MIB)
            assert measured(lambda: len(bytearray(60 * MIB)), True) == len(kept)
            with pytest.raises(Found, match="too much memory"):
                measured(lambda: len(bytearray(65 * MIB)), True)

    def test_a_process_of_a_campaign_gets_no_more_than_its_address_space(self) -> None:
        script = (
            "from tests.storage.campaigns.memory import *\n"
            "limit_address_space()\n"
            "limit_address_space()\n"
            "try:\n    bytearray(ADDRESS_SPACE_BYTES)\n"
            "except MemoryError:\n    print('no more')\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert ended.stdout == "no more\n"
