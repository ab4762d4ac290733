"""Proofs by boxes of weights, for one neuron whose errors are counted."""

from dataclasses import replace
from math import inf
from time import perf_counter

from provenn.bounds._agreement_proof import grow_tree, signs_of
from provenn.bounds.agreement import minimise
from provenn.formulations import Problem
from provenn.formulations.feature_signs import FeatureSigns
from provenn.formulations.sparsity import Sparsity
from provenn.losses.hamming import Hamming
from provenn.losses.max_correct import MaxCorrect
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.proofs._kinds import Evidence, Kind
from provenn.trainers.agreement import Agreement, part_of


def limits_alone(problem: Problem) -> str | None:
    """Say which side constraint is more than a limit on weights, or None where none is."""
    for constraint in problem.constraints:
        if not isinstance(constraint, FeatureSigns | Sparsity) or constraint.price_unit is not None:
            return f"{type(constraint).__name__} is a price, or no limit on weights"
    return None


def obstacle(problem: Problem) -> str | None:
    """Say why there can be no such proof for a problem, or None when there can."""
    if problem.architecture.n_outputs > 1:
        return "the network has several outputs"
    why = Agreement.obstacle(problem) or limits_alone(problem)
    if why is None and type(problem.loss) not in (MaxCorrect, Hamming):
        why = f"the checker does not know the loss {type(problem.loss).__name__}"
    return why


def prove(problem: Problem, network: IntegerNetwork, limits: Limits) -> Evidence:
    """Search for half of the time, and grow the tree of what was proven, which takes up to three times as long."""
    began, part = perf_counter(), part_of(problem)
    result = minimise(part.neurons, replace(limits, seconds=limits.seconds / 2), part.neuron(network))
    searched, signs = perf_counter() - began, signs_of(part.neurons)
    tree = grow_tree(signs, result.bound, result.bound, began + 2 * limits.seconds)
    if tree is None:
        tree = grow_tree(signs, signs.constant, signs.constant, inf)
        assert tree is not None
    fields = {name: tree[name] for name in ("moves", "rank", "tree")}
    return Evidence(fields, tree["bound"], len(tree["tree"]), 0, searched)


AGREEMENT = Kind("agreement", obstacle, prove)
