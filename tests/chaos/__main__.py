"""`python -m tests.chaos`: minutes of faults on real actors, in segments, each with a verdict on its history.

Here:   the command line.
Never:  one segment (segment.py), what makes a run void (command.py).
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

from tests.chaos.command import add_options, play
from tests.chaos.kinds import KINDS
from tests.chaos.segment import run_segment

MINUTES: Final = 60.0
AFTERWARDS_S: Final = 900.0


def main() -> int:
    """0: nothing was found, and the run is not void; 1: else; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    add_options(parser, MINUTES)
    return play("chaos", parser.parse_args(), run_segment, KINDS, afterwards_s=AFTERWARDS_S, code=())


if __name__ == "__main__":
    sys.exit(main())
