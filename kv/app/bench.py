"""`python -m kv.app.bench quick|failover|soak|...`: numbers of this machine, beside targets.

Here:   the command line of the benches: which one, how large, what is printed and kept.
Never:  measuring (bench_*.py).

Each starts a Ray and a store of three members of its own, and leaves nothing behind. Figures go to stdout, talk to
stderr. A target that is missed is printed; the exit code is not 0 if something was lost, a leader changed, or a soak
found that logs or processes grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import ray
from ray.exceptions import RayError

import kv
from kv.app import bench_snapshot, bench_soak, bench_transfer
from kv.app.bench_failover import run_failover
from kv.app.bench_quick import QuickSize, run_quick
from kv.app.bench_replace import run_replace
from kv.app.bench_snapshot import growth, run_pause
from kv.app.bench_soak import Load, Soak, run_soak
from kv.app.bench_transfer import run_restart, run_transfer
from kv.app.figures import MARKDOWN_HEAD, Figure, machine, markdown_row, table
from kv.app.surroundings import fresh_directory, fresh_store, ray_running
from raft_actors.errors import RaftActorsError

QUICK: Final = QuickSize()
FAULTS_SHOWN: Final = 20


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure the store on this machine."""


def _record_option(command: Callable[..., None]) -> Callable[..., None]:
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option("--record", type=path, help="Append the figures to this file, as a row of a markdown table.")(
        command
    )


@main.command()
@click.option("--turns", default=QUICK.turns, show_default=True, type=click.IntRange(1))
@_record_option
def quick(turns: int, record: Path | None) -> None:
    """Puts and gets against one plain Ray actor, in turns."""
    with _store() as store:
        figures = run_quick(store, QuickSize(turns=turns), lambda done: _say(f"turn {done} of {turns}"))
        _report("quick", figures, record)


@main.command()
@click.option("--kills", default=10, show_default=True, type=click.IntRange(1))
@_record_option
@click.pass_context
def failover(context: click.Context, /, kills: int, record: Path | None) -> None:
    """From the leader's SIGKILL to the first acknowledged put that was invoked after it."""
    with _store() as store:
        result = run_failover(store, kills, _say)
        _report("failover", result.figures, record)
    for key in result.lost[:FAULTS_SHOWN]:
        click.echo(f"LOST {key}")
    context.exit(1 if result.lost else 0)


@main.command()
@click.option("--load", default="full", show_default=True, type=click.Choice(["idle", "full"]))
@click.option("--minutes", default=5.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
@_record_option
@click.pass_context
def soak(context: click.Context, /, load: Load, minutes: float, record: Path | None) -> None:
    """No new leader, and no growth, while nothing fails. A run in which a member starved is repeated once."""
    result = _soak(load, minutes, record)
    if result.elections and result.is_starved:
        _say(f"a member's loop stood still for {result.stall_ms_max:.0f} ms: starved by the machine, so once more")
        result = _soak(load, minutes, record)
    context.exit(1 if any(figure.is_met is False for figure in result.figures) else 0)


@main.command("snapshot-pause")
@click.option("--keys", default="1000000,4000000", show_default=True, help="Numbers of keys, separated by commas.")
@_record_option
def snapshot_pause(keys: str, record: Path | None) -> None:
    """Stalls and gaps while every member takes a snapshot, and whether they grow with the state."""
    pauses = []
    for count in map(int, keys.split(",")):
        if (lack := bench_snapshot.missing_memory(count)) is not None:
            _say(f"skipped: {lack}")
            continue
        with _store(bench_snapshot.CONFIG) as store:
            pauses.append(run_pause(store, count, _say))
    figures = [figure for pause in pauses for figure in pause.figures]
    if len(pauses) > 1:
        figures.append(growth(pauses[0], pauses[-1]))
    _report("snapshot-pause", figures, record)


@main.command("snapshot-bench")
@click.option("--gib", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option("--keys", default=1_000_000, show_default=True, type=click.IntRange(1), help="Of the restart.")
@_record_option
@click.pass_context
def snapshot_bench(context: click.Context, /, gib: float, keys: int, record: Path | None) -> None:
    """A state sent from node to node beside the service, against a plain actor; and a restart."""
    if (lack := bench_transfer.missing(gib)) is not None:
        _say(f"skipped: {lack}")
        return
    try:
        transfer = run_transfer(gib, _say)
    except (RaftActorsError, RayError) as error:
        raise click.ClickException(str(error)) from error
    with _ray():
        restart = run_restart(keys, _say)
        _report("snapshot-bench", [*transfer.figures, *restart], record)
    context.exit(1 if transfer.elections else 0)


@main.command()
@_record_option
@click.pass_context
def replace(context: click.Context, /, record: Path | None) -> None:
    """A member killed with its disk removed, on three nodes, replaced unasked under load."""
    try:
        result = run_replace(_say)
    except (RaftActorsError, RayError) as error:
        raise click.ClickException(str(error)) from error
    with _ray():
        _report("replace", result.figures, record)
    for key in result.lost[:FAULTS_SHOWN]:
        click.echo(f"LOST {key}")
    context.exit(1 if result.lost else 0)


def _soak(load: Load, minutes: float, record: Path | None) -> Soak:
    with _store(bench_soak.CONFIG) as store:
        result = run_soak(store, load, minutes, _say)
        _report(f"soak {load}", result.figures, record)
    if result.elections:
        cause = "starvation" if result.is_starved else "no member starved, so this is a fault"
        click.echo(f"{result.elections} elections: {cause} (longest stall {result.stall_ms_max:.0f} ms)")
    return result


@contextmanager
def _store(config: kv.Config | None = None) -> Iterator[kv.Client]:
    """A store for one bench; what its start refuses becomes one sentence."""
    with _ray(), fresh_store("bench", config=config) as store:
        yield store


@contextmanager
def _ray() -> Iterator[None]:
    try:
        with ray_running(None):
            yield
    except (RaftActorsError, RayError) as error:
        raise click.ClickException(str(error)) from error


def _report(what: str, figures: Sequence[Figure], record: Path | None) -> None:
    directory = fresh_directory("fsync")
    try:
        facts = machine(directory, ray.__version__)
    finally:
        directory.rmdir()
    click.echo(f"\n{table(figures)}\n\n{', '.join(facts.values())}\n")
    if record is not None:
        record.parent.mkdir(parents=True, exist_ok=True)
        with record.open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(MARKDOWN_HEAD)
            file.write(markdown_row(what, figures, facts) + "\n")


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


if __name__ == "__main__":
    main(prog_name="python -m kv.app.bench")
