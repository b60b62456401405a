"""Hosts that are network namespaces: a cut has a direction, bites, and ends with as many mendings as cuts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.netns.network import Network, missing

SENT = "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', (sys.argv[1], 4711))"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Two hosts."""
    if why := missing():
        pytest.skip(why)
    with Network(2, prefix=f"test{os.getpid()}") as network:
        yield network


def reaches(network: Network, src: int, dst: int) -> bool:
    """Whether a datagram does."""
    listen = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 4711)); s.settimeout(0.5);"
        "print('ready', flush=True); print(s.recv(9))"
    )
    listening = subprocess.Popen(
        network.on(dst, sys.executable, "-c", listen), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == "ready\n"
        subprocess.run(network.on(src, sys.executable, "-c", SENT, network.address(dst)), check=True)
        return listening.wait() == 0


@pytest.mark.slow
def test_a_cut_has_a_direction_and_bites(network: Network) -> None:
    assert reaches(network, 0, 1)
    assert reaches(network, 1, 0)
    network.cut(0, 1)
    network.cut(0, 1)
    assert network.lost_packets(0, 1) == 0
    assert not reaches(network, 0, 1)
    assert network.lost_packets(0, 1) > 0
    network.mend(0, 1)
    assert not reaches(network, 0, 1), "it was cut twice"
    network.mend(0, 1)
    assert reaches(network, 0, 1)
    assert network.lost_packets(0, 1) == 0


@pytest.mark.slow
def test_nothing_is_left_of_hosts(network: Network) -> None:
    prefix = f"gone{os.getpid()}"
    with Network(1, prefix=prefix):
        assert prefix in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert prefix not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
