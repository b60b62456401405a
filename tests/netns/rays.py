"""A Ray whose nodes are hosts of a `Network`.

Here:   `Rays`.
Never:  the network (network.py), what runs on Ray.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from tests.campaigns.outcome import ROOT
from tests.cluster.three_nodes import RACKS
from tests.cluster.world import eventually
from tests.netns.network import Network

PORT: Final = 6379
STORE_BYTES: Final = 80 * 1024 * 1024
START_S: Final = 60.0
END_S: Final = 20.0
STARTED: Final = "Ray runtime started"
ENVIRONMENT: Final = {"RAY_AUTH_MODE": "disabled"}
"""Of all that runs on the hosts: Ray's head wants a token otherwise, and nobody else is in this network."""


class Rays:
    """Each node is labelled with a rack, the first one is the head. A context manager: all end with it."""

    def __init__(self, network: Network, directory: Path) -> None:
        self._network = network
        self._directory = directory
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        """For drivers."""
        return f"{self._network.address(0)}:{PORT}"

    def __enter__(self) -> Self:
        try:
            for host in self._network.hosts:
                self._start(host)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def mend(self) -> list[int]:
        """Start again what ended by itself: a node that its head took for dead ends. Which hosts that was."""
        gone = [host for host, node in self._nodes.items() if node.poll() is not None]
        for host in gone:
            self._start(host)
        return gone

    def close(self) -> None:
        """The head goes last: the others have somebody to take leave of."""
        for node in reversed(self._nodes.values()):
            node.terminate()
            try:
                node.wait(END_S)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
        self._nodes.clear()

    def _start(self, host: int) -> None:
        """`ray start --block`: its processes end with it."""
        where = (
            ["--head", f"--port={PORT}", "--include-dashboard=false"] if host == 0 else [f"--address={self.address}"]
        )
        command = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            *where,
            f"--temp-dir={self._directory / str(host)}",
            f"--node-ip-address={self._network.address(host)}",
            "--num-cpus=1",
            f"--object-store-memory={STORE_BYTES}",
            "--disable-usage-stats",
            f"--labels=rack={RACKS[host]}",
            "--block",
        ]
        path = self._directory / f"ray-{host}.log"
        environment = {
            **os.environ,
            **ENVIRONMENT,
            "PYTHONPATH": str(ROOT),
            "NODE_DATA": str(self._directory / RACKS[host]),
        }
        with path.open("ab") as log:
            begun = log.tell()
            self._nodes[host] = subprocess.Popen(
                self._network.on(host, *command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        eventually(lambda: STARTED in _said(path, begun) or self._nodes[host].poll() is not None, START_S)
        if self._nodes[host].poll() is not None:
            raise RuntimeError(f"Ray does not start on host {host}: {_said(path, begun)[-2000:]}")


def _said(path: Path, begun: int) -> str:
    stream: IO[str]
    with path.open(errors="replace") as stream:
        stream.seek(begun)
        return stream.read()
