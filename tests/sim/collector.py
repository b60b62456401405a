"""Python's cyclic collector, kept out of the way while worlds run.

Here:   `each_world`: worlds for these seeds, and the collector at times when it has little to look at.
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


def each_world(seeds: Iterable[int]) -> Iterator[World]:
    """A fresh world for each seed. Whoever keeps none of them has few in memory at a time."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for count, seed in enumerate(seeds, 1):
            yield World(seed)
            if count % WORLDS_KEPT == 0:
                gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
