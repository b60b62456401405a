"""Every rule of rules.py finds what is planted, and leaves its permitted neighbour alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.architecture import rules
from tests.architecture.sources import Sources, parse

FINE = '"""Fine."""\n'

Rule = Callable[[Sources], Iterator[str]]


def planted(files: dict[str, str]) -> Sources:
    return Sources(tuple(parse(path, text) for path, text in files.items()))


LAZY = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from kv.client import Client
__all__ = ["Client"]
_MODULES = {"Client": "kv.client"}
def __getattr__(name):
    return importlib.import_module(_MODULES.get(name, "kv.errors"))
"""
CLIENT = {"kv/client.py": "class Client: ..."}

BROKEN = [
    (rules.outside_of_core, {"raft_actors/core/step.py": "import time"}, "may not import time"),
    (rules.outside_of_core, {"raft_actors/core/step.py": "from raft_actors.errors import X"}, "raft_actors.errors.X"),
    (rules.outside_of_core, {"raft_actors/core/log.py": "import random"}, "may not import random"),
    (rules.outside_of_core, {"raft_actors/faults/plan.py": "import msgpack"}, "may not import msgpack"),
    (rules.outside_of_core, {"raft_actors/faults/rules.py": "from random import Random"}, "may not import random"),
    (
        rules.upward_imports,
        {"raft_actors/storage/wal.py": "import raft_actors.peer.peer"},
        "raft_actors.peer.peer is above",
    ),
    (rules.upward_imports, {"raft_actors/errors.py": "from raft_actors.storage import Wal"}, "is above"),
    (rules.upward_imports, {"raft_actors/cluster/group.py": "from kv.errors import X"}, "is above"),
    (rules.upward_imports, {"raft_actors/peer/peer.py": "from raft_actors import start"}, "is above"),
    (
        rules.upward_imports,
        {"raft_actors/recording/x.py": "if TYPE_CHECKING:\n from raft_actors.peer import P"},
        "is above",
    ),
    (rules.upward_imports, {"kv/client.py": "from kv import start", "kv/__init__.py": ""}, "kv is above"),
    (rules.upward_imports, {"kv/client.py": "import analysis"}, "is above"),
    (rules.upward_imports, {"kv/server.py": "from kv.app.cli import main"}, "kv.app.cli is above"),
    (rules.upward_imports, {"raft_actors/helpers/x.py": ""}, "belongs to no layer"),
    (rules.analysis_reads_more_than_rows, {"analysis/load.py": "from kv.client import Client"}, "may not know kv"),
    (
        rules.analysis_reads_more_than_rows,
        {"analysis/load.py": "import raft_actors.peer.peer"},
        "may not know raft_actors",
    ),
    (rules.ray_off_the_rim, {"raft_actors/peer/peer.py": "import ray"}, "may not import ray"),
    (rules.ray_off_the_rim, {"kv/server.py": "from ray.actor import ActorHandle"}, "may not import ray"),
    (rules.ray_off_the_rim, {"analysis/load.py": "import ray"}, "may not import ray"),
    (rules.pandas_outside_analysis, {"kv/app/bench.py": "import pandas as pd"}, "may not import pandas"),
    (rules.hidden_imports, {"kv/server.py": "def f():\n import json"}, "imported within f"),
    (rules.hidden_imports, {"kv/server.py": "class C:\n async def g(self):\n  from json import loads"}, "within g"),
    (rules.hidden_imports, {"kv/server.py": "def __getattr__(name):\n import kv.client"}, "within __getattr__"),
    (rules.hidden_imports, {"kv/server.py": "from . import client"}, "relative import"),
    (
        rules.import_cycles,
        {"kv/a.py": "import kv.b", "kv/b.py": "from kv.c import x", "kv/c.py": "import kv.a"},
        "kv.c",
    ),
    (rules.import_cycles, {"kv/a.py": "from kv import b", "kv/b.py": "from kv.a import x"}, "import cycle"),
    (rules.import_cycles, {"kv/a.py": "if TYPE_CHECKING:\n import kv.b", "kv/b.py": "import kv.a"}, "import cycle"),
    (rules.banned_uses, {"kv/server.py": "import pickle\npickle.loads(b)"}, "pickle.loads"),
    (
        rules.banned_uses,
        {"raft_actors/codec.py": "from cloudpickle import loads as read\nread(b)"},
        "cloudpickle.loads",
    ),
    (rules.banned_uses, {"raft_actors/core/step.py": "import time as t\nt.time()"}, "time.time"),
    (
        rules.banned_uses,
        {"raft_actors/application/host.py": "from time import monotonic\nf = monotonic"},
        "time.monotonic",
    ),
    (rules.banned_uses, {"raft_actors/application/host.py": "from datetime import datetime\ndatetime.now()"}, "now"),
    (rules.banned_uses, {"raft_actors/application/host.py": "import threading\nthreading.Lock()"}, "threading.Lock"),
    (rules.banned_uses, {"kv/machine.py": "import os\nos.urandom(16)"}, "os.urandom"),
    (rules.banned_uses, {"raft_actors/peer/peer.py": "import random\nrandom.uniform(0, 1)"}, "random.uniform"),
    (rules.banned_uses, {"kv/server.py": "print(1)"}, "print"),
    (rules.banned_uses, {"kv/server.py": "import importlib\nimportlib.import_module('ray')"}, "import it at the top"),
    (rules.bare_excepts, {"kv/server.py": "try:\n f()\nexcept:\n pass"}, "kv/server.py:3: bare except"),
    (rules.missing_docstrings, {"kv/server.py": "import json"}, "no module docstring"),
    (rules.missing_inits, {"kv/__init__.py": "", "kv/app/cli.py": ""}, "kv/app/cli.py: its folder"),
    (
        rules.disagreeing_facades,
        {"kv/__init__.py": LAZY.replace('["Client"]', '["Client", "get"]')},
        "get stands in only",
    ),
    (rules.disagreeing_facades, {"kv/__init__.py": LAZY.replace('["Client"]', "[]")}, "Client stands in only one"),
    (rules.disagreeing_facades, {"kv/__init__.py": LAZY, "kv/client.py": ""}, "kv.client defines no Client"),
    (
        rules.disagreeing_facades,
        {"kv/__init__.py": LAZY.replace('"kv.client"}', '"kv.other"}')},
        "Client is looked for elsewhere",
    ),
    (rules.disagreeing_facades, {"kv/__init__.py": LAZY, "kv/Client.py": ""}, "would hide the name Client"),
    (rules.disagreeing_facades, {"kv/__init__.py": LAZY, "kv/errors.py": "class KeyOdd: ..."}, "KeyOdd is not public"),
]

PERMITTED = [
    (rules.outside_of_core, {"raft_actors/core/step.py": "from raft_actors.core import log\nimport dataclasses"}),
    (rules.outside_of_core, {"raft_actors/faults/plan.py": "from random import Random"}),
    (rules.outside_of_core, {"raft_actors/faults/plan.py": "from raft_actors.faults.rules import Rule"}),
    (rules.upward_imports, {"kv/app/cli.py": "import kv\nimport analysis\nfrom raft_actors import errors"}),
    (rules.upward_imports, {"raft_actors/peer/peer.py": "from raft_actors._version import __version__"}),
    (rules.upward_imports, {"kv/__init__.py": LAZY} | CLIENT),
    (rules.analysis_reads_more_than_rows, {"analysis/load.py": "from raft_actors.recording.schema import OPS"}),
    (rules.ray_off_the_rim, {"raft_actors/cluster/keeper.py": "import ray", "kv/actor.py": "import ray.actor"}),
    (rules.pandas_outside_analysis, {"analysis/load.py": "import pandas as pd"}),
    (rules.hidden_imports, {"kv/__init__.py": "def __getattr__(name):\n import kv.client"}),
    (rules.import_cycles, {"kv/__init__.py": LAZY, "kv/client.py": "from kv import Client"}),
    (rules.import_cycles, {"kv/a.py": "from kv.b import x", "kv/c.py": "from kv.b import y", "kv/b.py": ""}),
    (rules.banned_uses, {"kv/values.py": "import cloudpickle\ncloudpickle.loads(b)"}),
    (rules.banned_uses, {"raft_actors/application/actor.py": "import time\ntime.monotonic()"}),
    (rules.banned_uses, {"raft_actors/core/timer.py": "def f(random, time):\n return random.random() + time.time()"}),
    (rules.banned_uses, {"raft_actors/peer/peer.py": "import random, time\ndice: random.Random\ntime.monotonic()"}),
    (rules.banned_uses, {"kv/app/cli.py": "print(1)", "kv/server.py": "console.print(1)"}),
    (rules.bare_excepts, {"kv/server.py": "try:\n f()\nexcept ValueError:\n pass"}),
    (rules.missing_docstrings, {"kv/server.py": FINE}),
    (rules.missing_inits, {"kv/__init__.py": "", "kv/server.py": ""}),
    (rules.disagreeing_facades, {"kv/__init__.py": LAZY} | CLIENT),
]


@pytest.mark.parametrize(("rule", "files", "complaint"), BROKEN)
def test_rule_finds_what_is_planted(rule: Rule, files: dict[str, str], complaint: str) -> None:
    assert [line for line in rule(planted(files)) if complaint in line], list(rule(planted(files)))


@pytest.mark.parametrize(("rule", "files"), PERMITTED)
def test_rule_permits(rule: Rule, files: dict[str, str]) -> None:
    assert list(rule(planted(files))) == []


def test_every_rule_is_shown_to_fail_and_to_permit() -> None:
    in_force = {rule for name, rule in vars(rules).items() if name in RULE_NAMES}
    assert {rule for rule, *_ in BROKEN} == in_force == {rule for rule, *_ in PERMITTED}


RULE_NAMES = {
    name for name, rule in vars(rules).items() if getattr(rule, "__annotations__", {}).get("sources") and name[0] != "_"
}


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("raft_actors.core", "raft_actors.faults.rules"),
        ("raft_actors.faults.plan", "raft_actors.codec"),
        ("raft_actors.envelopes", "raft_actors.storage.wal"),
        ("raft_actors.config", "raft_actors.storage.wal"),
        ("raft_actors.storage", "raft_actors.application.host"),
        ("raft_actors.application", "raft_actors.recording.schema"),
        ("raft_actors.recording", "raft_actors.peer.peer"),
        ("raft_actors.peer.actor", "raft_actors.client.sender"),
        ("raft_actors.client", "raft_actors.cluster.keeper"),
        ("raft_actors.cluster", "raft_actors.faults.injector"),
        ("raft_actors.faults.injector", "raft_actors"),
        ("raft_actors", "kv.machine"),
        ("kv.machine", "kv"),
        ("kv", "analysis.load"),
        ("analysis", "kv.app.cli"),
    ],
)
def test_the_layers_stand_in_the_order_of_the_design(lower: str, higher: str) -> None:
    below, above = rules.height(lower), rules.height(higher)
    assert below is not None
    assert above is not None
    assert below < above
