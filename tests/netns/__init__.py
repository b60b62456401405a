"""Several hosts on one machine: a network namespace for each node of Ray, real partitions by nftables.

`make netns-chaos MINUTES=20` (root). What came of it: docs/results/netns-chaos.csv, docs/TESTING.md.
"""
