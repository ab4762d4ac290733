"""Proofs by a tree over clusters of activation patterns, for networks with hidden layers and few weights."""

from dataclasses import replace
from time import perf_counter

from provenn.bounds.network_tree import prove as search
from provenn.errors import InputError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.proofs._kinds import Evidence, Kind
from provenn.trainers.tree import Tree, compile_kernels, task_of

NODES_A_SECOND = 40_000
"""What the checker does, about: a proof should not take longer to check than to find."""


def prove(problem: Problem, network: IntegerNetwork, limits: Limits) -> Evidence:
    """Search from the value of a network."""
    goal = problem.value(network)
    if goal is None:
        raise InputError("the network breaks a condition of its problem: there is nothing to prove about it")
    compile_kernels()
    most, began = int(min(limits.seconds, 3600) * NODES_A_SECOND) + 1, perf_counter()
    found = search(
        task_of(problem), goal, replace(limits, nodes=most if limits.nodes is None else min(most, limits.nodes))
    )
    fields = {"cuts": found.cuts, "tree": found.tree}
    return Evidence(fields, found.bound, found.nodes, found.patterns, perf_counter() - began)


NETWORK = Kind("network", Tree.obstacle, prove)
