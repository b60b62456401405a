"""Which functions a change touches: a patch may fit where nobody meant it to, once the lines around it have moved.

Here:   `changed_places`.
Never:  files and patches (scratch.py, mutant.py).
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator
from typing import Final

MODULE: Final = "module"
"""What stands outside of all classes and functions. Imports do not count."""


def changed_places(before: str, after: str) -> tuple[str, ...]:
    """Names, dotted within the file, of the innermost functions and classes whose lines differ. Sorted."""
    places: set[str] = set()
    old, new = before.splitlines(), after.splitlines()
    for kind, old_begin, old_end, new_begin, new_end in difflib.SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if kind != "equal":
            places.update(_places(before, range(old_begin + 1, old_end + 1)))
            places.update(_places(after, range(new_begin + 1, new_end + 1)))
    return tuple(sorted(places))


def _places(source: str, lines: Iterable[int]) -> Iterator[str]:
    tree = ast.parse(source)
    spans = sorted(_spans(tree, ""), key=lambda span: span[0].stop - span[0].start)
    imports = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    text = source.splitlines()
    for line in lines:
        if line not in imports and text[line - 1].strip():
            yield next((name for span, name in spans if line in span), MODULE)


def _spans(node: ast.AST, prefix: str) -> Iterator[tuple[range, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}"
            begin = min([child.lineno, *(each.lineno for each in child.decorator_list)])
            yield range(begin, (child.end_lineno or child.lineno) + 1), name
            yield from _spans(child, f"{name}.")
        else:
            yield from _spans(child, prefix)
