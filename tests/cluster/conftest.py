"""One Ray for all tests on real processes, torn down at the end; a name and a data root for each group.

Every module here marks itself `cluster`. Fixtures only; helpers are in world.py.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from raft_actors.core.types import MemberId
from raft_actors.storage.directory import open_data_directory
from raft_actors.storage.files import OsFiles
from tests.cluster.world import REPOSITORY, nothing_left_of

OBJECT_STORE_BYTES = 100 * 1024 * 1024


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Ray of two cores. Its workers inherit this process's environment: our packages, and no data in the home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)  # also when nothing is installed
        patch.setenv("RAFT_ACTORS_HOME", str(tmp_path_factory.mktemp("home")))
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def a_real_disk(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Durability is not shown on a file system that forgets."""
    try:
        open_data_directory(
            str(tmp_path_factory.mktemp("disk") / "probe" / "0"),
            group="probe",
            member_id=MemberId(0),
            allow_unsafe_data_dir=False,
            files=OsFiles(),
        ).close()
    except Exception as refusal:
        pytest.fail(f"run these tests with --basetemp on a real disk: {refusal}")


@pytest.fixture(scope="module")
def module_data_dir(tmp_path_factory: pytest.TempPathFactory, a_real_disk: None) -> str:
    """A data root for the group that a module's tests share."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture
def data_dir(tmp_path: Path, a_real_disk: None) -> str:
    """A data root for one test."""
    return str(tmp_path / "data")


@pytest.fixture
def group_name(ray_cluster: None) -> Iterator[str]:
    """A name nobody else has; whatever runs under it is shut down afterwards."""
    with nothing_left_of(f"g{secrets.token_hex(4)}") as name:
        yield name
