"""The demo's data: words of the standard library, counted and sorted."""

from __future__ import annotations

from pathlib import Path

import pytest

from kv.app.words import library_words


@pytest.fixture
def library(tmp_path: Path) -> Path:
    files = {
        "b.py": b"import os, os\n# 2nd caf\xc3\xa9 _x1",
        "a/z.py": b"z",
        "a.py": b"a a a",
        "bad.py": b"ok \xff\xfe",
        "notes.txt": b"text",
        "site-packages/other.py": b"other",
        "a/__pycache__/cached.py": b"cached",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def test_every_word_of_every_python_file_is_counted_under_its_path(library: Path) -> None:
    assert library_words(100, library) == {
        "a.py:a": 3,
        "a/z.py:z": 1,
        "b.py:_x1": 1,
        "b.py:café": 1,
        "b.py:import": 1,
        "b.py:os": 2,
        "bad.py:ok": 1,
    }


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_the_first_keys_of_all_sorted_ones_are_taken(library: Path, count: int) -> None:
    everything = sorted(library_words(10**9, library).items())
    assert list(library_words(count, library).items()) == everything[:count]
