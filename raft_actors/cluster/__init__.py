"""Groups of peers on a Ray cluster: start, find, keep and stop them.

Here:   options, placement, the keeper and recorder actors, `Group`.
Never:  Raft, bytes on a disk, what a state machine does.
"""
