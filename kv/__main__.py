"""`python -m kv`, the same as `raft-kv`.

Here:   nothing but the call.
Never:  commands (kv/app/cli.py).
"""

from __future__ import annotations

from kv.app.cli import main

main()
