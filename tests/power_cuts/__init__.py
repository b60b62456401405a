"""Real power cuts: the product's log on a real ext4, which loses what was not synced at a moment that nobody chose.

Here:   a disk that can be cut (disk.py), a member's process on it (life.py) and what that process does (workload.py),
        what it was promised (oracle.py), the schedule of an image (image.py), the campaign (`__main__.py`).
Never:  a file system of our own: tests/storage has one, which knows more states and none that we did not think of.
"""
