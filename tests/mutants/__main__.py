"""`python -m tests.mutants run [NAME...]`: put bugs into copies of the code and see them found; `list` names them.

Here:   the command line.
Never:  running (runner.py).
"""

from __future__ import annotations

import argparse
import sys

from tests.campaigns import Options
from tests.mutants.mutant import all_mutants, select
from tests.mutants.runner import run_all


def main() -> int:
    """0: all were caught; 1: some were not, or not for their bug; 2: no such mutant."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every mutant, its class and its catcher")
    run = commands.add_parser("run", help="run mutants until they are caught")
    run.add_argument("names", nargs="*", metavar="NAME", help="a name or a pattern like 'f*'; all without one")
    run.add_argument("--seeds", type=int, default=20_000, help="worlds in which a mutant may hide (default 20000)")
    run.add_argument("--seconds", type=float, default=900.0, help="how long it may (default 900)")
    Options.add_to(run)
    parsed = parser.parse_args()
    mutants = all_mutants()
    if parsed.command == "list":
        for mutant in mutants:
            print(f"{mutant.name}  [{mutant.bug}; {mutant.catcher}]  {mutant.broken}")
        return 0
    try:
        chosen = select(mutants, parsed.names)
    except LookupError as stray:
        print(stray.args[0], file=sys.stderr)
        return 2
    return run_all(chosen, seeds=parsed.seeds, seconds=parsed.seconds, options=Options.of(parsed)).exit_code


if __name__ == "__main__":
    sys.exit(main())
