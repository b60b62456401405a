"""Threads and time around one core.

Here:   one peer. Thread-free, clock-free classes that decide (engine, election_timer, window, feed, chains), daemons
        that pump them (peer), and the rim to Ray (transport, actor).
Never:  rules of Raft (core), bytes on a disk (storage), who starts and keeps peers (cluster).
"""
