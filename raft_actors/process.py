"""What a process of a member asks of its interpreter and of its machine.

Here:   `prefer_this_process`, `call_until`, `freeze_what_lasts`, `collect_all`, `give_memory_back`, `log_to_stderr`,
        `same_user`.
Never:  Raft, Ray.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import psutil

SWITCH_INTERVAL_S: Final = 0.0001
"""Threads hand over often: an answer must not wait 5 ms for a thread that encodes."""

FREEZE_AFTER: Final = 4
"""Collections of the middle generation, of 7,000 objects or so each; at 10 Python begins a full one."""

GIVE_BACK_S: Final = 60.0

LOG_LEVEL_VARIABLE: Final = "RAFT_ACTORS_LOG_LEVEL"


def prefer_this_process() -> None:
    """Hand over between threads often, and do not run behind everybody else.

    Ray starts its workers at niceness 15. A member there is starved by any busy driver, and a starved leader is
    deposed; so it asks for niceness 0, which the system grants to root and to those with CAP_SYS_NICE. On Linux each
    thread has its own, and those that Ray started before us matter most: they carry every message.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with contextlib.suppress(OSError):
        for thread_id in os.listdir("/proc/self/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread_id), 0)


def call_until(is_done: Callable[[], bool], call: Callable[[], object], *, every_s: float, times: int) -> None:
    """Call now, and again in a thread until it is done, so many times at most. What `call` raises there is logged."""

    def again() -> None:
        for _ in range(times):
            time.sleep(every_s)
            if is_done():
                return
            try:
                call()
            except Exception:
                logging.getLogger("raft_actors").exception("a call that is made again failed")

    call()
    threading.Thread(target=again, name="call until done", daemon=True).start()


def freeze_what_lasts() -> None:
    """Keep full garbage collections short; to be called some times a second, and nearly free.

    A full collection walks every container that lives, 130 ms for a million keys, with all threads standing still. What
    has outlived two generations here is the log and the state, in hardly any cycles: the collector need not look at it
    again. So before enough has gathered for a full collection, it is set aside. Reference counts still free it; what
    has to be free of cycles all the same says so (`collect_all`).
    """
    if gc.get_count()[2] >= FREEZE_AFTER:
        gc.collect(1)  # what is young and dead must not be set aside with the rest
        gc.freeze()


def collect_all() -> None:
    """A full collection of everything, what was set aside too. Takes long; for when nobody is served."""
    gc.unfreeze()
    gc.collect()


def give_memory_back(every_s: float = GIVE_BACK_S) -> threading.Event:
    """Return pages that were freed to the system, now and then, until the event is set: for as long as a process lives.

    The allocator keeps what was freed for later use, in arenas of its own for many threads. A log that grows by tens of
    MiB and is cut, again and again, leaves holes in all of them, and a process that holds no more than an hour ago
    takes more (`make soak` measures it). All threads stand still meanwhile: some milliseconds for a peer and its log,
    a hundred for a state of a GiB, so that is not for applications. Where the allocator cannot, or an older Ray brings
    a psutil that does not know how, nothing is done.
    """
    stop = threading.Event()

    def run(trim: Callable[[], object]) -> None:
        while not stop.wait(every_s):
            trim()

    if (trim := getattr(psutil, "heap_trim", None)) is not None:
        threading.Thread(target=run, args=(trim,), name="give memory back", daemon=True).start()
    return stop


def log_to_stderr() -> None:
    """Let the processes that are ours say what they do; Ray keeps it in the worker's log file, and shows it to drivers.

    `RAFT_ACTORS_LOG_LEVEL` in the node's environment: INFO unless it says otherwise; DEBUG tells every message.
    """
    logger = logging.getLogger("raft_actors")
    wanted = os.environ.get(LOG_LEVEL_VARIABLE, "INFO").upper()
    logger.setLevel(wanted if wanted in logging.getLevelNamesMapping() else "INFO")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


_CREDENTIALS: Final = struct.Struct("3i")
"""struct ucred of Linux: pid, uid, gid."""


def same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end of a Unix socket runs as our user: nobody else has business there."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return bool(uid == os.getuid())
