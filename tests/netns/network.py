"""Hosts that are network namespaces of one machine, joined by a switch; what one sends to another can be dropped.

Here:   `Network`; `missing`, why there can be none here.
Never:  what runs on the hosts.

A host drops what it is *sent* by another one, so a cut has a direction, as a broken cable's strand has. Packets are
dropped in the kernel, below TCP: what is on its way is sent again by the sender's kernel, later and later, so a
connection stays silent for some time after the cut is healed, as on real hosts. The machine's own network is not
touched: the switch is in a namespace of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from types import TracebackType
from typing import Final, Self

TABLE: Final = ("inet", "chaos")
SUBNET: Final = "10.213.77"
TOOLS: Final = ("ip", "nft")
COMMAND_S: Final = 10.0


def missing() -> str | None:
    """Why this machine cannot have such hosts; None: it can."""
    if os.geteuid() != 0:
        return "it needs root, for network namespaces"
    if lacking := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"it needs {' and '.join(lacking)}: install Debian's packages iproute2 and nftables"
    try:
        with Network(1, prefix=f"probe{os.getpid()}"):
            return None
    except subprocess.CalledProcessError as failure:
        return f"this kernel permits no such network: {failure.stderr.strip()}"


class Network:
    """Hosts numbered from 0, each with an address. A context manager: everything is gone in the end."""

    def __init__(self, size: int, *, prefix: str) -> None:
        self.hosts = range(size)
        self._prefix = prefix
        self._cuts: Counter[tuple[int, int]] = Counter()

    def __enter__(self) -> Self:
        try:
            self._add_switch()
            for host in self.hosts:
                self._add_host(host)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def address(self, host: int) -> str:
        """Its own, in the network that they share."""
        return f"{SUBNET}.{host + 1}"

    def on(self, host: int, *command: str) -> list[str]:
        """This command as it runs on the host."""
        return ["ip", "netns", "exec", self._name(host), *command]

    def cut(self, src: int, dst: int) -> None:
        """What `src` sends to `dst` is lost from now on, until it was mended as often as it was cut."""
        self._cuts[src, dst] += 1
        if self._cuts[src, dst] == 1:
            self._nft(dst, "add", "element", *TABLE, "lost", f"{{ {self.address(src)} }}")

    def mend(self, src: int, dst: int) -> None:
        """The end of one `cut`."""
        self._cuts[src, dst] -= 1
        if self._cuts[src, dst] == 0:
            self._nft(dst, "delete", "element", *TABLE, "lost", f"{{ {self.address(src)} }}")

    def lost_packets(self, src: int, dst: int) -> int:
        """How many were, since this direction was cut."""
        told = json.loads(self._nft(dst, "-j", "list", "set", *TABLE, "lost"))
        (found,) = [item["set"] for item in told["nftables"] if "set" in item]
        elements = [each["elem"] for each in found.get("elem", ())]
        return sum(each["counter"]["packets"] for each in elements if each["val"] == self.address(src))

    def close(self) -> None:
        """With a namespace go its addresses, its rules and its ends of cables, and so the other ends."""
        for name in (*map(self._name, self.hosts), self._switch):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=COMMAND_S)

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _switch(self) -> str:
        return f"{self._prefix}-switch"

    def _name(self, host: int) -> str:
        return f"{self._prefix}-{host}"

    def _add_switch(self) -> None:
        _run("ip", "netns", "add", self._switch)
        _run("ip", "-n", self._switch, "link", "add", "switch", "type", "bridge")
        _run("ip", "-n", self._switch, "link", "set", "switch", "up")

    def _add_host(self, host: int) -> None:
        name, port = self._name(host), f"port{host}"
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
        _run("ip", "-n", self._switch, "link", "set", port, "master", "switch")
        _run("ip", "-n", self._switch, "link", "set", port, "up")
        _run("ip", "-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", name, "link", "set", device, "up")
        _run("ip", "-n", name, "route", "add", "default", "dev", "eth0")  # who asks for his own address goes this way
        self._nft(host, "add", "table", *TABLE)
        self._nft(host, "add", "set", *TABLE, "lost", "{ type ipv4_addr; counter; }")
        self._nft(host, "add", "chain", *TABLE, "arriving", "{ type filter hook input priority 0; }")
        self._nft(host, "add", "rule", *TABLE, "arriving", "ip", "saddr", "@lost", "drop")

    def _nft(self, host: int, *words: str) -> str:
        return _run(*self.on(host, "nft", *words))


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMMAND_S)
    return done.stdout
