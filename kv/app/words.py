"""Real data that every machine has: the words of Python's own standard library, counted.

Here:   `library_words`.
Never:  the store; packages that somebody installed (they differ from machine to machine).
"""

from __future__ import annotations

import os
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final

WORD: Final = re.compile(r"\b[^\W\d]\w*")
"""What a name in a program looks like; a number is no word."""
NOT_STANDARD: Final = frozenset({"site-packages", "dist-packages", "__pycache__"})


def library_words(count_max: int, root: Path | None = None) -> dict[str, int]:
    """`path:word` -> how often the word stands in that .py file: the first `count_max` of all these keys, sorted.

    `root`: where the library lies; the running interpreter's by default. There may be fewer than `count_max`. Bytes
    that are no UTF-8 become replacement characters: the library's own tests hold such files.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    # A path ends in ".py", so no `path:` begins another one, and files in this order give their keys in order: the
    # files behind the last key wanted need not be read.
    paths = sorted((path.relative_to(root).as_posix() for path in _sources(root)), key=lambda path: f"{path}:")
    return dict(islice(chain.from_iterable(_words_of(root, path) for path in paths), count_max))


def _sources(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in NOT_STANDARD]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def _words_of(root: Path, path: str) -> list[tuple[str, int]]:
    counts = Counter(WORD.findall((root / path).read_text("utf-8", errors="replace")))
    return sorted((f"{path}:{word}", count) for word, count in counts.items())
