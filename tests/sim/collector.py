"""Python's cyclic collector, kept out of the way while worlds run.

Here:   `each_seed`, `each_world`: one after the other, and the collector at times when it has little to look at.
Never:  what a world is (world.py).

A world's parts know each other, so it is garbage that only the collector finds. Left to itself the collector looks at
all of it again and again while it is in use, which takes a fifth of the time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Final

from tests.sim.world import World

WORLDS_KEPT: Final = 10
"""So many are left lying before they are cleared away, some ten megabytes."""


def each_seed(seeds: Iterable[int]) -> Iterator[int]:
    """For whoever makes a world of each and keeps none of them: few are in memory at a time."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for count, seed in enumerate(seeds, 1):
            yield seed
            if count % WORLDS_KEPT == 0:
                gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()


def each_world(seeds: Iterable[int]) -> Iterator[World]:
    """A fresh world for each seed."""
    return map(World, each_seed(seeds))
