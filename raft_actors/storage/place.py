"""Where a member's data lies on its node.

Here:   the default root, its expansion, the path of one member, whose directories there are.
Never:  whether that place is safe (directory.py).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Final

from raft_actors.core.types import MemberId

DATA_DIR_DEFAULT: Final = "~/.raft_actors"
"""Unless $RAFT_ACTORS_HOME names another, on the member's node."""


ASIDE_SUFFIX: Final = ".aside"
"""Of the directory that a member had before; nobody opens it any more."""
FOUNDING_SUFFIX: Final = ".founding"
"""Of a directory that is being founded (founding.py) and has not come into its place."""
_BESIDE: Final = "|".join(map(re.escape, (ASIDE_SUFFIX, FOUNDING_SUFFIX)))


def member_path(data_dir: str | None, group: str, member_id: MemberId) -> str:
    """The member's directory; `~` and `$VARIABLES` mean those of the process that calls this, on the node."""
    root = data_dir if data_dir is not None else os.environ.get("RAFT_ACTORS_HOME", DATA_DIR_DEFAULT)
    return os.path.join(os.path.abspath(os.path.expandvars(os.path.expanduser(root))), group, str(member_id))


def member_directories(data_dir: str | None, group: str) -> list[MemberId]:
    """Members of which there is something on this node: in their place, set aside from it, or on its way there."""
    root = os.path.dirname(member_path(data_dir, group, MemberId(0)))
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(root)
    found = {re.fullmatch(rf"(0|[1-9][0-9]{{0,3}})({_BESIDE})?", name) for name in names}
    return sorted({MemberId(int(match[1])) for match in found if match})
