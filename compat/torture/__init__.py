"""Torture: three real nodes, real clients, and every fault that one machine can make, mixed by a seed.

The nodes have addresses, disks and a wall clock of their own: they run in namespaces for network, mounts and processes,
which end with the run, whatever ends it. Clients of redis-py write down what they asked and saw; at the end everything
is read once more, and `judge_history`, the simulator's own checker, judges the whole.
"""
