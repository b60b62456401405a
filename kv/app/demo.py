"""`raft-kv demo`: the main job. Real data, a leader killed, everything restarted, and nothing lost.

Here:   `DemoOptions`, `run_demo`, the command `demo`.
Never:  what a fault is (histories.py), what clients do (demo_clients.py), how the run's numbers are made (analysis).

Talks on stderr; what was measured and found goes to stdout. The exit code is 0 only if every acknowledged write was
there, exactly once.
"""

from __future__ import annotations

import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import ray
from ray.exceptions import RayError

import analysis
import kv
from kv.app.demo_clients import DemoClient, faults_of, load
from kv.app.live import LiveView
from kv.app.members import Killed, Watch, kill_leader
from kv.app.surroundings import ended_afterwards, fresh_directory, fresh_name, ray_running
from kv.app.tally import Tally
from kv.app.words import library_words
from raft_actors.cluster.recorder import find_recorder
from raft_actors.errors import RaftActorsError
from raft_actors.names import NAMESPACE, recorder_name

LOOK_S: Final = 0.1
FAULTS_SHOWN: Final = 20
NEW_LEADER_S: Final = 30.0
ASK_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """How large the demo is, and where it happens. The defaults take less than two minutes on two cores."""

    address: str | None = None
    """Of a running Ray cluster; None: start one meanwhile."""
    members: int = 3
    clients: int = 8
    keys: int = 100_000
    """How many words are loaded."""
    seconds: float = 20.0
    """How long the clients work; the leader is killed half way."""
    data_dir: str | None = None
    """Kept afterwards; None: a temporary one, which is kept only if something was lost."""
    record_dir: str = "runs"
    seed: int = 1


def run_demo(options: DemoOptions) -> int:
    """The whole job; 0 if nothing was lost, else 1. Raises `RaftActorsError`s, `NoRay` for a wrong address."""
    record_dir = str(Path(options.record_dir).expanduser().absolute())
    words = library_words(options.keys)
    _say(f"{len(words):,} words of Python's standard library to be loaded")
    temporary = None if options.data_dir is not None else fresh_directory("demo")
    data_dir = str(temporary) if temporary is not None else options.data_dir
    name = fresh_name("demo")
    with ExitStack() as stack:
        stack.enter_context(ray_running(options.address))
        stack.enter_context(ended_afterwards(name))

        def start(record_dir: str | None) -> kv.Client:
            began_s = time.monotonic()
            store = kv.start(name, members=options.members, data_dir=data_dir, record_dir=record_dir)
            _say(f"store {name!r}: {options.members} members run, data in {data_dir} ({_since(began_s)})")
            return store

        with start(record_dir) as store:
            _load(store, words)
            run_path = _run_path(name)
            clients = _work_through_a_kill(name, options, words)
        _say("every member is shut down, and started again on the same data")
        kv.shutdown(name)
        with start(None) as store:
            _say("reading everything back")
            faults = list(faults_of(store, words, clients))
        kv.shutdown(name)
    if temporary is not None and not faults:
        shutil.rmtree(temporary)
    show_run(run_path)
    return show_verdict(words, clients, faults, data_dir)


def _load(store: kv.Client, words: Mapping[str, int]) -> None:
    began_s = time.monotonic()
    with click.progressbar(length=len(words), label="loading", file=sys.stderr) as bar:
        for count in load(store, words):
            bar.update(count)
    seconds = time.monotonic() - began_s
    _say(f"loaded and acknowledged: {len(words):,} keys in {seconds:.1f} s, {len(words) / seconds:,.0f} a second")


def _work_through_a_kill(name: str, options: DemoOptions, words: Mapping[str, int]) -> list[DemoClient]:
    """Clients at work for `options.seconds`, and half way the end of the leader's process."""
    tally, stop = Tally(), threading.Event()
    clients = [
        DemoClient(
            number=number,
            store=kv.connect(name, label=f"client-{number}"),
            words=words,
            dice=random.Random(options.seed * 1000 + number),
            tally=tally,
            stop=stop,
        )
        for number in range(options.clients)
    ]
    with (
        Watch(name) as watch,
        LiveView(tally) as view,
        ThreadPoolExecutor(options.clients, thread_name_prefix="demo") as threads,
    ):
        at_work = [threads.submit(client.run) for client in clients]

        def go_on(until_s: float, done: Callable[[kv.Status], bool] = lambda _: False) -> None:
            while time.monotonic() < until_s and not done(watch.latest):
                view.show(watch.latest)
                _raise_failure(at_work, LOOK_S)

        try:
            began_s = time.monotonic()
            go_on(began_s + options.seconds / 2)
            killed = _kill(name, watch)
            view.say(
                f"SIGKILL for the leader of term {killed.term}: member {killed.member}, process {killed.pid} (Ray will "
                "report its death in its own words)"
            )
            killed_s = time.monotonic()
            go_on(killed_s + NEW_LEADER_S, killed.is_replaced)
            new = watch.wait_for(killed.is_replaced, "a new leader", timeout_s=0.0)
            view.say(f"member {new.leader} leads, seen {_since(killed_s)} after the kill")
            go_on(began_s + options.seconds)
        finally:
            stop.set()
        for work in at_work:
            work.result()
    for client in clients:
        client.store.close()
    return clients


def _raise_failure(at_work: Sequence[Future[None]], within_s: float) -> None:
    """Wait that long, unless a client fails: then raise why."""
    for work in wait(at_work, within_s, FIRST_EXCEPTION).done:
        work.result()


def _kill(name: str, watch: Watch) -> Killed:
    """End the leader's process without warning, and note it in the run."""
    status = watch.wait_for(lambda status: status.leader is not None, "a leader", NEW_LEADER_S)
    recorder = find_recorder(name)
    killed = kill_leader(status)
    if recorder is not None:
        recorder.record(
            "faults",
            {"fault_id": "kill-1", "kind": "kill", "target": str(killed.member), "t_start": recorder.now_ns()},
        )
        recorder.close()
    return killed


def _run_path(name: str) -> str:
    """Where the run of the store is being recorded."""
    recorder: Any = ray.get_actor(recorder_name(name), namespace=NAMESPACE)
    path: str = ray.get(recorder.directory.remote(), timeout=ASK_S)
    return path


# -- what is said at the end ------------------------------------------------------------------------------------------


def show_run(path: str) -> None:
    """The run's numbers, and where it lies; one sentence where the analysis is not installed."""
    try:
        analysis.close_run(path)
        run = analysis.load_run(path)
        summary = analysis.summary(run.ops).to_string(index=False, float_format="{:.2f}".format)
        gaps = analysis.leader_gaps(run.ops, run.events, t_end=run.meta.get("t_end"))
    except ImportError as missing:
        click.echo(f"{missing} Then: raft-analysis summary {path}")
        return
    changes = gaps[gaps["leader_before"].notna()]
    click.echo(f"\noperations, latencies in ms\n{summary}\n\nleader changes")
    for change in changes.to_dict("records"):
        click.echo(
            f"term {change['term']}: from member {change['leader_before']} to member {change['leader_after']}, "
            f"no write acknowledged for {change['gap_ms']:,.0f} ms"
        )
    click.echo(f"\nthe run lies in {path}")


def show_verdict(
    words: Mapping[str, int], clients: Sequence[DemoClient], faults: Sequence[str], data_dir: str | None
) -> int:
    """Say what was lost, or that nothing was; the exit code."""
    for fault in faults[:FAULTS_SHOWN]:
        click.echo(f"FAULT {fault}")
    if faults:
        click.echo(f"LOST: {len(faults):,} faults; the data is kept in {data_dir}")
        return 1
    outcomes = Counter(write.outcome for client in clients for write in [*client.puts, *client.appends])
    click.echo(
        f"nothing lost: {len(words):,} loaded keys and {outcomes['ok']:,} acknowledged writes are there, exactly once "
        f"({outcomes['unknown']:,} ended as unknown, {outcomes['not_done']:,} as not done)"
    )
    return 0


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _since(began_s: float) -> str:
    return f"{time.monotonic() - began_s:.1f} s"


# -- the command ------------------------------------------------------------------------------------------------------


DEFAULTS: Final = DemoOptions()


@click.command("demo")
@click.option("--address", help="A running Ray cluster; without it one is started meanwhile.")
@click.option("--members", default=DEFAULTS.members, show_default=True, type=click.IntRange(1, 15))
@click.option("--clients", default=DEFAULTS.clients, show_default=True, type=click.IntRange(1, 64))
@click.option("--keys", default=DEFAULTS.keys, show_default=True, type=click.IntRange(1), help="Words to load.")
@click.option("--seconds", default=DEFAULTS.seconds, show_default=True, type=click.FloatRange(2), help="Of work.")
@click.option("--data-dir", help="Kept afterwards; without it a temporary directory is used.")
@click.option("--record-dir", default=DEFAULTS.record_dir, show_default=True, help="Where the run is recorded.")
@click.option("--seed", default=DEFAULTS.seed, show_default=True, help="Of what the clients do.")
@click.pass_context
def demo(context: click.Context, /, address: str | None, **sizes: Any) -> None:
    """Load real data, kill the leader half way, restart everything, and check that nothing was lost."""
    address = address or context.find_root().params.get("address")
    try:
        code = run_demo(DemoOptions(address=address, **sizes))
    except (RaftActorsError, RayError) as error:
        raise click.ClickException(str(error)) from error
    context.exit(code)


if __name__ == "__main__":
    demo()
