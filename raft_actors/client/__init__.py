"""The client of a group: sessions, retries, batches, and the one thread of a process that sends.

Here:   nothing; import the modules.
Never:  what a command means (kv/client.py and other callers).

Pure, given `now_ms` and dice: limits, session, route, operation, lane, wire, outcomes, engine.
Threads: sender, callers, opened. Ray: ray_servers alone.
"""
