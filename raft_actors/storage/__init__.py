"""Bytes on a disk: the log of one member and its snapshots, and what a crash leaves of them.

Here:   interface.py (the promises), files.py (the seam to the system), records.py (records and their bytes), image.py
        (what records add up to), directory.py (who may use a directory), segments.py, snapshot_records.py and
        snapshots.py (its files), recovery.py (what they hold), wal.py (the log being written), memory.py (the verified
        fake).
Never:  elections, Ray, threads, clocks. One thread at a time uses a storage.
"""
