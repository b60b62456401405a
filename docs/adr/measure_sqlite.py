"""What SQLite makes of one flipped bit in the middle of its write-ahead log. (ADR 0002)

    python docs/adr/measure_sqlite.py

Commits 100 rows, one by one, with `synchronous=FULL`; copies database and log as a SIGKILL would leave them; flips one
bit in the middle of the copied log; opens the copy and counts.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

ROWS = 100


def main() -> None:
    """Print how many of the committed rows are there, and what SQLite says about it."""
    with tempfile.TemporaryDirectory() as folder:
        written, copied = Path(folder) / "written.db", Path(folder) / "copied.db"
        database = sqlite3.connect(written, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE entries (term, data)")
        for term in range(ROWS):
            database.execute("INSERT INTO entries VALUES (?, ?)", (term, "x" * 100))
        shutil.copy(written, copied)
        log = bytearray(Path(f"{written}-wal").read_bytes())
        database.close()
        log[len(log) // 2] ^= 1
        Path(f"{copied}-wal").write_bytes(log)
        damaged = sqlite3.connect(copied)
        (verdict,) = damaged.execute("PRAGMA integrity_check").fetchone()
        (count,) = damaged.execute("SELECT count(*) FROM entries").fetchone()
        print(f"SQLite {sqlite3.sqlite_version}: {count} of {ROWS} committed rows, integrity_check: {verdict}")
        damaged.close()


if __name__ == "__main__":
    main()
