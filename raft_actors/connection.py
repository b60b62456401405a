"""This process's connection to Ray.

Here:   whether there is one, and whether it is still the same.
Never:  actors.
"""

from __future__ import annotations

import ray

from raft_actors.errors import RayNotInitialised


def connection() -> str | None:
    """Names the present connection; another one after `ray.shutdown()` and `ray.init()`, None where there is none.

    A handle of a connection that is over must not be used: Ray would end this process.
    """
    return str(ray.get_runtime_context().get_worker_id()) if ray.is_initialized() else None


def require_ray() -> None:
    """Raises `RayNotInitialised` unless this process is connected."""
    if not ray.is_initialized():
        raise RayNotInitialised("no Ray in this process: call ray.init() or ray.init(address='auto') first")
