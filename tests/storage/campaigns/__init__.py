"""The storage under attack: campaigns that crash it, damage it, fail it and lie to its decoders, from a seed.

Here:   workload.py (what a process writes), oracle.py (what must then be there), crashes.py (K5: crash at every call),
        damage.py (K6: every bit, byte, length and sector of directories.py), failures.py (K8: calls that fail),
        fuzz.py with target.py, decoders.py and on_disk.py (K16: decoders), memory.py (how much they may take),
        found.py (a check that failed), kinds.py and __main__.py (the command line, long runs).
Never:  real disks (tests/power_cuts), the code under attack.

A campaign consists of *units*, numbered from 0. A unit is a plain function of its number: the same number does the same
thing, takes some seconds and says what it did. The K numbers are those of the acceptance plan that the project follows.
"""
