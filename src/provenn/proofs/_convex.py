"""Proofs by branch and bound over tangents, for networks without hidden layers and convex losses."""

from dataclasses import replace
from time import perf_counter

import numpy as np

from provenn.bounds.convex_proof import NeuronProof, proof_of, prove_again
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.proofs._kinds import Evidence, Kind
from provenn.trainers.convex import Convex, subproblem


def obstacle(problem: Problem) -> str | None:
    """Say why there can be no convex proof for a problem, or None when there can."""
    why = Convex.obstacle(problem)
    return "its weights are continuous" if why is None and problem.architecture.layers[-1].continuous else why


def prove(problem: Problem, network: IntegerNetwork, limits: Limits) -> Evidence:
    """Prove every output; each has an equal share of the time left."""
    proofs, searched, outputs = list[NeuronProof](), 0.0, problem.architecture.n_outputs
    for j in range(outputs):
        seconds = max(0.0, limits.seconds - searched) / (outputs - j)
        known = network.weights[0][:, j].astype(np.int64), int(network.biases[0][j])
        part, began = subproblem(problem, j), perf_counter()
        result = prove_again(part, known, replace(limits, seconds=seconds))
        searched += perf_counter() - began
        proofs.append(proof_of(part, result, max(1.0, seconds)))
    parts = [one.data for one in proofs]
    return Evidence(
        {"outputs": parts},
        sum(part["bound"] for part in parts),
        sum(len(part["tree"]) for part in parts),
        sum(len(part["points"]) for part in parts),
        searched,
    )


CONVEX = Kind("convex", obstacle, prove)
