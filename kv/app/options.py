"""What all commands of `raft-kv` share: four options, taken before and after the command; talk; the way to Ray.

Here:   `Common`, `root_options`, `command_options`; connecting, with one sentence where there is no Ray.
Never:  starting a Ray (only the demo does), what a command does (cli.py).
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import click
import ray
from ray.exceptions import RayError

import kv
from kv.app.render import FORMATS
from raft_actors.names import NAMESPACE, check_group

TIMEOUT_S: Final = 5.0
TIMEOUT_S_MAX: Final = 86_400.0
PROBE_S: Final = 5.0
"""How long a Ray head may take to accept a connection."""
START_ONE: Final = "start one with `ray start --head`, or give --address"


class NoRay(click.ClickException):
    """No Ray cluster can be reached; says where it was looked for and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What the user said before or after the command; after it wins."""

    address: str = "auto"
    name: str = "default"
    timeout: float | None = None
    """Seconds; None: the command's own default."""
    format: str = "table"

    @property
    def timeout_s(self) -> float:
        """Seconds that one operation on the store may take."""
        return TIMEOUT_S if self.timeout is None else self.timeout

    @contextmanager
    def connected(self) -> Iterator[None]:
        """This process is a driver on the cluster, or was one already. Raises `NoRay`, and `InvalidName` before.

        Meanwhile stdout is stderr: Ray prints its warnings to a driver's stdout. Data is printed afterwards.
        """
        check_group(self.name)
        with redirect_stdout(sys.stderr):
            if ray.is_initialized():
                yield
                return
            connect_to_ray(self.address)
            try:
                yield
            finally:
                ray.shutdown()

    @contextmanager
    def store(self, *, allow_pickle: bool = False) -> Iterator[kv.Client]:
        """A client of the running store. Pickled values are not opened unless asked: that runs their writer's code."""
        with (
            self.connected(),
            kv.connect(
                self.name, connect_timeout_s=self.timeout_s, timeout_s=self.timeout_s, allow_pickle=allow_pickle
            ) as client,
        ):
            yield client


def connect_to_ray(address: str) -> None:
    """Join the cluster at `address`, or at $RAY_ADDRESS or the one on this machine when it is "auto".

    Raises `NoRay`: nothing is ever started here.
    """
    named = os.environ.get("RAY_ADDRESS", "") or address if address == "auto" else address
    if named == "local" or "://" in named:
        raise NoRay(f"{named!r} names no running cluster: give --address HOST:PORT, as `ray start --head` printed it")
    if named != "auto":
        _probe(named)
    try:
        ray.init(address=named, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError, RayError) as failure:
        if named == "auto":
            raise NoRay(f"no Ray runs on this machine: {START_ONE}") from failure
        raise NoRay(
            f"what listens at {named!r} is no Ray that takes this process ({first_line(failure)}): both need the same "
            "versions of Ray and Python, and $RAY_AUTH_MODE=token if it was started with a token"
        ) from failure


def _probe(address: str) -> None:
    """Raises `NoRay` unless something listens there. Ray itself would try for many minutes."""
    try:
        parts = urlsplit(f"//{address}")
        if parts.hostname is None or parts.port is None:
            raise ValueError("an address is HOST:PORT")
        socket.create_connection((parts.hostname, parts.port), timeout=PROBE_S).close()
    except (OSError, ValueError) as failure:
        raise NoRay(f"no Ray answers at {address!r} ({first_line(failure)}): {START_ONE}") from failure


def say(sentence: str) -> None:
    """To the person, on stderr."""
    click.echo(sentence, err=True)


def first_line(failure: BaseException) -> str:
    """What an exception of others says, without what follows it over pages."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[0] if lines else type(failure).__name__


# -- the options -----------------------------------------------------------------------------------------------------


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """One dict per invocation: a command's context shares its group's, and is filled later."""
    if value is not None:
        context.ensure_object(dict)[parameter.name] = value
    return value


def _timeout(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value <= TIMEOUT_S_MAX:  # not click's range, which takes nan
        raise click.BadParameter(f"seconds above 0, at most {TIMEOUT_S_MAX:g}", context, parameter)
    _remember(context, parameter, value)
    return value


def _options(expose_value: bool) -> tuple[Callable[[Any], Any], ...]:
    return (
        click.option(
            "--address",
            metavar="HOST:PORT",
            help="Of the Ray cluster. [default: $RAY_ADDRESS, else the one on this machine]",
            expose_value=expose_value,
            callback=_remember,
        ),
        click.option("--name", help="Of the store. [default: default]", expose_value=expose_value, callback=_remember),
        click.option(
            "--timeout",
            type=float,
            metavar="SECONDS",
            help="How long one operation may take. [default: 5; start: 60]",
            expose_value=expose_value,
            callback=_timeout,
        ),
        click.option(
            "--format",
            type=click.Choice(FORMATS),
            help="Of the data on stdout. [default: table]",
            expose_value=expose_value,
            callback=_remember,
        ),
    )


def root_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options as the group of commands takes them; they are among its context's parameters."""
    for option in reversed(_options(expose_value=True)):
        function = option(function)
    return function


def command_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same options for one command, whose function gets a `Common` first."""

    @click.pass_context
    @functools.wraps(function)
    def invoked(context: click.Context, /, *arguments: Any, **options: Any) -> Any:
        return function(Common(**context.ensure_object(dict)), *arguments, **options)

    for option in reversed(_options(expose_value=False)):
        invoked = option(invoked)
    return invoked
