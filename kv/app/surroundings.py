"""Where the demo and the benches take place: a Ray, a directory, a store that leaves nothing behind.

Here:   `ray_running`, `fresh_directory`, `fresh_store`.
Never:  what is done with the store.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import ray

import kv
from kv.app.options import connect_to_ray
from raft_actors.errors import PeerFailed, UnknownGroup

OBJECT_STORE_BYTES: Final = 100_000_000
"""Nothing here goes through the object store; Ray's own default is a third of the memory."""
RAY_CPUS: Final = 2
"""Ray keeps a process ready for each; our actors ask for none of them."""
TEMPORARY: Final = "/var/tmp"
"""Unlike /tmp a place for data that outlives a restart, so it is no tmpfs, which a store refuses."""


@contextmanager
def ray_running(address: str | None) -> Iterator[None]:
    """The Ray that this process is connected to already, else the one at `address`, else one of our own meanwhile.

    Raises `NoRay` when no Ray answers at `address`.
    """
    if ray.is_initialized():
        yield
        return
    if address is not None:
        connect_to_ray(address)
    else:
        ray.init(
            address="local",  # never one that $RAY_ADDRESS happens to name
            num_cpus=RAY_CPUS,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield
    finally:
        ray.shutdown()


def fresh_directory(purpose: str) -> Path:
    """A new directory of one's own on a real disk: under $TMPDIR, or /var/tmp."""
    return Path(tempfile.mkdtemp(prefix=f"raft-kv-{purpose}-", dir=os.environ.get("TMPDIR", TEMPORARY)))


def fresh_name(purpose: str) -> str:
    """A name that no other store on the cluster has."""
    return f"{purpose}-{secrets.token_hex(3)}"


@contextmanager
def ended_afterwards(name: str) -> Iterator[None]:
    """Whatever happens, no process of the store `name` remains: its actors would outlive this process otherwise."""
    try:
        yield
    finally:
        with suppress(UnknownGroup, PeerFailed):  # ended properly before, or with failures that were told before
            kv.shutdown(name)


@contextmanager
def fresh_store(purpose: str, *, config: kv.Config | None = None) -> Iterator[kv.Client]:
    """A new store of three members with a new directory, both gone afterwards. Raises what `kv.start` does."""
    name, directory = fresh_name(purpose), fresh_directory(purpose)
    try:
        with ended_afterwards(name), kv.start(name, data_dir=str(directory), config=config) as store:
            yield store
    finally:
        shutil.rmtree(directory)
