"""The test catalogue of Ruaft and of MIT's labs, each row written once, for real processes and for simulated worlds.

lab.py         what a row may do and ask: the labs' own primitives, on any group
rows_*.py      the rows, named as in the reference; docs/TESTING.md maps every row of it
ray_lab.py     a group of Ray actors with a fault injector
sim_lab.py     a world of tests/sim, which the row's own steps drive

campaign.py   all of it on real actors, again and again: `make catalogue`

Rows: tests/cluster/test_catalogue.py (real), tests/sim/test_catalogue.py (200 seeds each).
"""
