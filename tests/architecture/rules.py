"""The architecture as data, and one function per rule: sources in, complaints out. No complaint, no fault.

Here:   the layers, the rim, the bans, each with what to do instead.
Never:  files (sources.py); which tree is checked (test_architecture.py checks ours, test_rules.py planted ones).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from typing import Any

from tests.architecture.sources import PACKAGES, Source, Sources

# -- who may import whom ---------------------------------------------------------------------------------------------

LAYERS: tuple[tuple[str, ...], ...] = (
    ("raft_actors._version",),
    ("raft_actors.core.*",),
    ("raft_actors.faults.rules", "raft_actors.faults.plan"),
    (
        "raft_actors.errors",
        "raft_actors.gauges",
        "raft_actors.names",
        "raft_actors.process",
        "raft_actors.config",
        "raft_actors.codec",
        "raft_actors.envelopes",
        "raft_actors.connection",
    ),
    ("raft_actors.wire",),
    (
        "raft_actors.faults.transit",
        "raft_actors.faults.wire",
        "raft_actors.faults.orders",
        "raft_actors.faults.follower",
    ),
    ("raft_actors.storage.*",),
    ("raft_actors.application.*",),
    ("raft_actors.recording.*",),
    ("raft_actors.peer.*",),
    ("raft_actors.client.*",),
    ("raft_actors.cluster.*",),
    ("raft_actors.faults.*",),
    ("raft_actors",),
    ("kv.*",),
    ("kv",),
    ("analysis.*",),
    ("kv.app.*", "kv.__main__"),
)
"""Bottom to top. A module is in the layer that names it, else in the one with the longest pattern for it; `a.b.*` is
for the package `a.b` too. The public face of a package stands above its modules: they must not import through it."""

RAY_AT_THE_RIM = (
    "raft_actors/connection.py",
    "raft_actors/peer/transport.py",
    "raft_actors/peer/actor.py",
    "raft_actors/application/actor.py",
    "raft_actors/application/object_store.py",
    "raft_actors/application/snapshot_shell.py",
    "raft_actors/client/*",
    "raft_actors/cluster/*",
    "raft_actors/faults/follower.py",
    "raft_actors/faults/hand.py",
    "raft_actors/faults/deeds.py",
    "raft_actors/faults/injector.py",
    "raft_actors/faults/control.py",
    "kv/actor.py",
    "kv/client.py",
    "kv/cluster.py",
    "kv/app/*",
)

SHELLS = ("raft_actors/application/peer_link.py", "raft_actors/application/read_rounds.py")
"""Beside the rim to Ray: what lives on the application's event loop."""

PURE = (
    "raft_actors/core/*",
    "raft_actors/faults/rules.py",
    "raft_actors/faults/plan.py",
    "raft_actors/faults/transit.py",
    "raft_actors/faults/ledger.py",
    "raft_actors/codec.py",
    "raft_actors/envelopes.py",
    "raft_actors/application/*",
    "kv/machine.py",
    "kv/commands.py",
)
"""Files that decide. What is at the rim is none of them, whatever its folder."""

CORE = ("raft_actors/core/*", "raft_actors/faults/rules.py", "raft_actors/faults/plan.py")

STDLIB_FOR_CORE = frozenset(
    {"__future__", "bisect", "collections", "dataclasses", "enum", "functools", "heapq", "itertools", "typing"}
)
"""What the core needs of the standard library."""

NAMED_BY_THE_PLAN = ("random.*", "raft_actors.faults.rules.*")
"""What the fault plan may import beside that: the type of the dice that it is handed, and its rules."""

ANALYSIS_READS = ("raft_actors._version", "raft_actors.errors", "raft_actors.recording.*")


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a path or module matches one of the patterns; `a.b.*` matches `a.b` too."""
    return any(fnmatchcase(name, pattern) or name == pattern.removesuffix(".*") for pattern in patterns)


def is_pure(path: str) -> bool:
    """Whether the file must do without clock, dice and threads."""
    return matches(path, PURE) and not matches(path, RAY_AT_THE_RIM + SHELLS)


def height(module: str) -> int | None:
    """How far up the module's layer is; None when it has none."""
    found = [
        (pattern == module, len(pattern), position)
        for position, layer in enumerate(LAYERS)
        for pattern in layer
        if matches(module, (pattern,))
    ]
    return max(found)[2] if found else None


def outside_of_core(sources: Sources) -> Iterator[str]:
    """The core and the fault model import a little of the standard library, and the core."""
    for file in sources.files:
        if matches(file.path, CORE):
            ours = ("raft_actors.core.*", *(NAMED_BY_THE_PLAN if file.path.endswith("/plan.py") else ()))
            for found in file.imports:
                if not matches(found.name, ours) and found.name.split(".")[0] not in STDLIB_FOR_CORE:
                    yield f"{file.path}:{found.line}: the core may not import {found.name}; pass the value in an Event"


def upward_imports(sources: Sources) -> Iterator[str]:
    """Imports point down the layers, those for types too; a lazy facade names what it finds later."""
    for file in sources.files:
        own = height(file.module)
        if own is None:
            yield f"{file.path}: belongs to no layer; move it into one, or give it one in LAYERS"
            continue
        for found in file.imports:
            target = sources.target(found)
            if target.split(".")[0] not in PACKAGES or (found.for_types and file.is_lazy_facade):
                continue
            there = height(target)
            if there is None:
                yield f"{file.path}:{found.line}: {target} belongs to no layer"
            elif there > own:
                yield f"{file.path}:{found.line}: {target} is above {file.module}; move what both need further down"


def analysis_reads_more_than_rows(sources: Sources) -> Iterator[str]:
    """The analysis knows a run on disk, not the system that wrote it."""
    for file in sources.files:
        if file.path.startswith("analysis/"):
            for found in file.imports:
                target = sources.target(found)
                ours = target.split(".")[0] in {"raft_actors", "kv"}
                if ours and not matches(target, ANALYSIS_READS):
                    yield f"{file.path}:{found.line}: the analysis may not know {target}; read it from the run"


def ray_off_the_rim(sources: Sources) -> Iterator[str]:
    """Ray is imported where processes meet, and nowhere else."""
    return _imported_outside(sources, "ray", RAY_AT_THE_RIM, "only the rim may (RAY_AT_THE_RIM): pass it what it needs")


def pandas_outside_analysis(sources: Sources) -> Iterator[str]:
    """Members need no pandas: whoever has rows hands them out as rows."""
    return _imported_outside(sources, "pandas", ("analysis/*",), "hand out rows (a list of dicts)")


def _imported_outside(sources: Sources, package: str, allowed: tuple[str, ...], instead: str) -> Iterator[str]:
    for file in sources.files:
        if not matches(file.path, allowed):
            for found in file.imports:
                if found.name.split(".")[0] == package:
                    yield f"{file.path}:{found.line}: may not import {package}; {instead}"


def hidden_imports(sources: Sources) -> Iterator[str]:
    """All imports stand at the top of their file, where a reader and the other rules see them; all are absolute."""
    for file in sources.files:
        for found in file.imports:
            if found.name.startswith("."):
                yield f"{file.path}:{found.line}: relative import {found.name}; write the whole name"
            if found.in_function is not None and not (file.is_lazy_facade and found.in_function == "__getattr__"):
                yield f"{file.path}:{found.line}: {found.name} imported within {found.in_function}; move it to the top"


def import_cycles(sources: Sources) -> Iterator[str]:
    """No module needs, over others, itself; imports for types count, but for those of a lazy facade."""
    graph = {
        file.module: {
            target
            for found in file.imports
            if not (found.for_types and file.is_lazy_facade)
            if (target := sources.target(found)) in sources.modules
        }
        for file in sources.files
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "import cycle: " + " <- ".join(error.args[1])


# -- what may not be used --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """Names that some files may not mention."""

    names: tuple[str, ...]
    instead: str
    pure_only: bool = False
    but: tuple[str, ...] = ()
    """Names that match and are allowed."""
    allowed_in: tuple[str, ...] = ()


BANS = (
    Ban(
        names=tuple(
            f"{module}.{name}" for module in ("pickle", "cloudpickle") for name in ("load", "loads", "Unpickler")
        ),
        instead="whoever wrote these bytes would run code here; use msgpack, or leave it to the client (kv/values.py)",
        allowed_in=("kv/values.py",),
    ),
    Ban(
        names=("time.*", "datetime.*.now", "datetime.*.utcnow", "datetime.*.today"),
        instead="time arrives in an event or from the Clock that is passed in",
        pure_only=True,
    ),
    Ban(
        names=("random.*", "secrets.*", "uuid.uuid*", "os.urandom"),
        but=("random.Random",),
        instead="the caller draws, or passes a random.Random in",
        pure_only=True,
    ),
    Ban(
        names=("random.*",),
        but=("random.Random", "random.SystemRandom"),
        instead="the global dice cannot be seeded for one test: pass a random.Random in",
    ),
    Ban(
        names=("threading.*", "asyncio.*", "concurrent.*", "socket.*", "subprocess.*", "multiprocessing.*"),
        instead="what decides knows no thread and no process; the shell around it does",
        pure_only=True,
    ),
    Ban(
        names=("print",),
        instead="use logging, or return it; only the command lines talk",
        allowed_in=("kv/app/*", "analysis/__main__.py"),
    ),
    Ban(
        names=("importlib.import_module", "__import__"),
        instead="import it at the top",
        allowed_in=(
            "raft_actors/__init__.py",
            "raft_actors/faults/__init__.py",
            "kv/__init__.py",
            "analysis/__init__.py",
        ),
    ),
)


def banned_uses(sources: Sources, bans: tuple[Ban, ...] = BANS) -> Iterator[str]:
    """No file mentions a name that is banned there."""
    for file in sources.files:
        for ban in bans:
            if matches(file.path, ban.allowed_in) or (ban.pure_only and not is_pure(file.path)):
                continue
            for name, line in file.uses:
                if matches_name(name, ban.names) and not matches_name(name, ban.but):
                    yield f"{file.path}:{line}: {name}: {ban.instead}"


def matches_name(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a used name matches; here `time.*` does not match `time`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def bare_excepts(sources: Sources) -> Iterator[str]:
    """Every except clause says what it expects."""
    for file in sources.files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                yield f"{file.path}:{node.lineno}: bare except; name the exceptions that can be handled here"


def missing_docstrings(sources: Sources) -> Iterator[str]:
    """Every module says what lives in it."""
    for file in sources.files:
        if ast.get_docstring(file.tree) is None:
            yield f"{file.path}: no module docstring; say what is here, and what never is"


def missing_inits(sources: Sources) -> Iterator[str]:
    """Every folder with modules is a package, and named so in a wheel."""
    for file in sources.files:
        package = file.path.rpartition("/")[0].replace("/", ".")
        if package not in sources.modules:
            yield f"{file.path}: its folder has no __init__.py"


# -- lazy facades ----------------------------------------------------------------------------------------------------


def disagreeing_facades(sources: Sources) -> Iterator[str]:
    """What a facade shows to type checkers, to `dir()` and to whoever asks is one list; each name exists where the
    facade looks, if that file does; and no submodule takes a public name (its import would hide the name)."""
    by_module = {file.module: file for file in sources.files}
    for file in sources.files:
        public = _constant(file.tree, "__all__")
        if not file.is_lazy_facade or not isinstance(public, list):
            continue
        found_later = {found.name.rpartition(".")[2]: found for found in file.imports if found.for_types}
        listed = set(public) - {"__version__"}
        at_the_top = {found.name.rpartition(".")[2] for found in file.imports if not found.for_types}
        for name in sorted(listed ^ (set(found_later) | (listed & at_the_top))):
            yield f"{file.path}: {name} stands in only one of __all__ and the imports for type checkers"
        modules = _constant(file.tree, "_MODULES") or {}
        otherwise = _default_of_get(file.tree)
        for name, found in found_later.items():
            home = found.source
            if home in by_module and home != found.name and name not in _defined(by_module[home]):
                yield f"{file.path}:{found.line}: {home} defines no {name}"
            if home != found.name and modules.get(name, otherwise) != home:
                yield f"{file.path}:{found.line}: {name} is looked for elsewhere than in {home}"
            if f"{file.module}.{name}" in sources.modules:
                yield f"{file.path}:{found.line}: importing the module {file.module}.{name} would hide the name {name}"
        errors = by_module.get(f"{file.module}.errors")
        for name in sorted(_classes(errors) - listed) if errors else ():
            yield f"{file.path}: the error {name} is not public; add it to __all__"


def _default_of_get(tree: ast.Module) -> str | None:
    """`"a.b"` of the `.get(name, "a.b")` in a module's `__getattr__`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="get"), args=[_, ast.Constant(value=str() as default)]):
                return default
            case _:
                pass
    return None


def _constant(tree: ast.Module, name: str) -> Any:
    """The literal that a module assigns to `name`; None without one."""
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=found)], value=value)
                | ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value)
            ) if found == name:
                return ast.literal_eval(value)
    return None


def _classes(file: Source) -> set[str]:
    return {node.name for node in file.tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}


def _defined(file: Source) -> set[str]:
    names = {found.name.rpartition(".")[2] for found in file.imports}
    for node in file.tree.body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                names.add(name)
            case _:
                pass
    return names
