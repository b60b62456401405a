"""Chaos: a store on several nodes, two drivers of clients, and one fault after the other while they are at it.

`make chaos MINUTES=60` plays segments of five minutes, each with a group, a Ray and a history of its own, and goes on
where it was interrupted. What came of it: docs/results/chaos.csv, docs/TESTING.md.
"""
