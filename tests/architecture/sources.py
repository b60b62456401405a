"""Our source files as the architecture tests see them: a path, a syntax tree, what it imports, what it uses.

Here:   reading and resolving. Names are absolute and dotted, paths are relative to the clone.
Never:  rules (rules.py).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("raft_actors", "kv", "analysis")

LAZY_FACADES = frozenset({"raft_actors", "raft_actors.faults", "kv", "analysis"})
"""Packages whose `__init__.py` finds its public names when they are asked for (PEP 562)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module, or name out of a module: which of the two, only `Sources.target` knows."""

    name: str
    """Dotted; `a.b.c` for `from a.b import c`."""
    source: str
    """What stands after `from` or `import`."""
    line: int
    in_function: str | None
    """The innermost function around it."""
    for_types: bool
    """Under `if TYPE_CHECKING`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file."""

    path: str
    text: str
    tree: ast.Module = field(repr=False)
    imports: tuple[Import, ...]
    uses: tuple[tuple[str, int], ...] = field(repr=False)
    """Every mention of an imported or built-in name, as (absolute dotted name, line): `t.time` after
    `import time as t`, and `now` after `from time import time as now`, are both `time.time`."""

    @property
    def module(self) -> str:
        """The dotted name under which the file is imported."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_lazy_facade(self) -> bool:
        """Whether its imports for types stand for names that are found later."""
        return self.module in LAZY_FACADES

    @property
    def line_count(self) -> int:
        """Lines, docstrings included."""
        return self.text.count("\n")


@dataclass(frozen=True, slots=True)
class Sources:
    """Some files that belong together."""

    files: tuple[Source, ...]
    modules: frozenset[str] = field(init=False)
    """Their names."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", frozenset(file.module for file in self.files))

    def target(self, found: Import) -> str:
        """The module that an import leads to: `a.b` for `from a.b import c`, unless `a.b.c` is one of the files."""
        return found.name if found.name in self.modules else found.source


def parse(path: str, text: str) -> Source:
    """One file from its text; also how tests plant a violation."""
    tree = ast.parse(text, filename=path)
    imports = tuple(_imports(tree, None, False))
    return Source(path=path, text=text, tree=tree, imports=imports, uses=tuple(_uses(tree)))


def read_tree(root: Path = ROOT) -> Sources:
    """All files of our packages, sorted."""
    paths = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return Sources(tuple(parse(str(path.relative_to(root)), path.read_text("utf-8")) for path in paths))


def _imports(node: ast.AST, function: str | None, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names, lineno=line):
                for alias in names:
                    name = alias.name
                    yield Import(name=name, source=name, line=line, in_function=function, for_types=for_types)
            case ast.ImportFrom(module=module, names=names, level=level, lineno=line):
                source = "." * level + (module or "")
                for alias in names:
                    name = f"{source}.{alias.name}"
                    yield Import(name=name, source=source, line=line, in_function=function, for_types=for_types)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield from _imports(child, name, for_types)
            case ast.If(test=test) if _dotted(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
                for statement in child.body:
                    yield from _imports(ast.Module([statement], []), function, True)
                for statement in child.orelse:
                    yield from _imports(ast.Module([statement], []), function, for_types)
            case _:
                yield from _imports(child, function, for_types)


def _uses(tree: ast.Module) -> Iterator[tuple[str, int]]:
    nodes = list(ast.walk(tree))
    known: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                known[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in nodes:
        if isinstance(node, (ast.Name, ast.Attribute)) and (name := _dotted(node)) is not None:
            first, dot, rest = name.partition(".")
            if first in known or not dot:  # `random.random` of a parameter named random is none of ours
                yield known.get(first, first) + dot + rest, node.lineno


def _dotted(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            owner = _dotted(value)
            return None if owner is None else f"{owner}.{attr}"
        case _:
            return None
