"""The sources, read once; and their sizes, which are printed for the eye and never asserted."""

from __future__ import annotations

import pytest

from tests.architecture.sources import Sources, read_tree

LARGE_LINES = 400


@pytest.fixture(scope="session")
def ours() -> Sources:
    """All files of our packages."""
    return read_tree()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the size of each package, and the files that may have more than one duty by now."""
    files = read_tree().files
    by_package: dict[str, int] = {}
    for file in files:
        package = file.path.rpartition("/")[0]
        by_package[package] = by_package.get(package, 0) + file.line_count
    terminalreporter.section("lines")
    terminalreporter.write_line(", ".join(f"{package} {lines}" for package, lines in sorted(by_package.items())))
    for file in sorted(files, key=lambda file: -file.line_count):
        if file.line_count > LARGE_LINES:
            terminalreporter.write_line(f"{file.path}: {file.line_count} lines, a guide says {LARGE_LINES}")
