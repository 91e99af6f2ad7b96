"""A deterministic simulation of a node of `state`: seeded events, virtual time, a disk that loses what was not synced.

`run(seed, workload)` lets clients commit while the node is killed, its disk fills up and answers get lost, and then
checks everything the log and the answers promise.  The same seed gives the same run to the last bit.
"""
