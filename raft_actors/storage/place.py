"""Where a member's data lies on its node.

Here:   the default root, its expansion, the path of one member.
Never:  whether that place is safe (directory.py).
"""

from __future__ import annotations

import os
from typing import Final

from raft_actors.core.types import MemberId

DATA_DIR_DEFAULT: Final = "~/.raft_actors"
"""Unless $RAFT_ACTORS_HOME names another, on the member's node."""


ASIDE_SUFFIX: Final = ".aside"
"""Of the directory that a member had before; nobody opens it any more."""
FOUNDING_SUFFIX: Final = ".founding"
"""Of a directory that is being founded (founding.py) and has not come into its place."""


def member_path(data_dir: str | None, group: str, member_id: MemberId) -> str:
    """The member's directory; `~` and `$VARIABLES` mean those of the process that calls this, on the node."""
    root = data_dir if data_dir is not None else os.environ.get("RAFT_ACTORS_HOME", DATA_DIR_DEFAULT)
    return os.path.join(os.path.abspath(os.path.expandvars(os.path.expanduser(root))), group, str(member_id))
