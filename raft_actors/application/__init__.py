"""The application beside a peer: a state machine, the sessions that make its commands happen once, and who waits.

Here:   the protocol between a peer and its co-located application, and every decision of the application's side, pure.
Never:  clocks, dice, threads, Ray. The actor around `ApplicationHost` only carries bytes and resolves futures.
"""
