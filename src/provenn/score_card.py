"""Score cards: the points of every feature, and the risk of every total."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenn.encoding import Feature
from provenn.network import IntegerNetwork


@dataclass(frozen=True)
class ScoreCard:
    """Points of a network without hidden layers, for two classes.

    Parameters
    ----------
    target : str
        The class that positive totals predict.
    intercept : int or float
        Points that everybody gets; fractions only with continuous weights.
    points : tuple of (Feature, int or float)
        Features with non-zero points. A grid feature contributes its points times its
        position between `low` and `high`.
    risk : tuple of (float, float, float, int, float)
        From total, to total, predicted risk at the middle, training samples in the range
        and their observed risk (NaN without samples). Empty when the loss gives no probability.
    """

    target: str
    intercept: float
    points: tuple[tuple[Feature, float], ...]
    risk: tuple[tuple[float, float, float, int, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON data."""
        return {
            "target": self.target,
            "intercept": self.intercept,
            "points": [
                {"feature": f.name, "points": p, "kind": f.kind, "low": f.low, "high": f.high} for f, p in self.points
            ],
            "risk": [
                {"from": a, "to": b, "risk": r, "samples": n, "observed": None if math.isnan(o) else o}
                for a, b, r, n, o in self.risk
            ],
        }

    def __str__(self) -> str:
        """Return the card as plain text."""
        width = max([len(f.name) for f, _ in self.points] + [len("intercept")])
        lines = [f"Score for {self.target!r}: predicted when the total is 0 or more", ""]
        for feature, points in self.points:
            span = f"   from {feature.low:g} (0) to {feature.high:g} ({points:+g})" if feature.kind == "grid" else ""
            lines.append(f"  {feature.name:<{width}}  {points:+4g}{span}")
        lines.append(f"  {'intercept':<{width}}  {self.intercept:+4g}")
        if self.risk:
            lines += ["", "  total            risk   training samples   observed"]
            for low, high, risk, count, observed in self.risk:
                seen = "" if math.isnan(observed) else f"{observed:8.1%}"
                lines.append(f"  {low:+6.1f} .. {high:+6.1f} {risk:8.1%} {count:12d}      {seen}")
        return "\n".join(lines)


def score_card(
    network: IntegerNetwork,
    features: list[Feature],
    target: str,
    temperature: float | None,
    totals: NDArray[np.float64],
    positive: NDArray[np.bool_],
    weights: NDArray[np.int64],
) -> ScoreCard:
    """Read the card off a network with one neuron.

    Parameters
    ----------
    network : IntegerNetwork
    features : list of Feature
        One for each input.
    target : str
        Name of class 1.
    temperature : float or None
        tau of the logistic loss; None for losses that give no probability.
    totals : ndarray of shape (n,)
        Scores of the training samples in real units.
    positive : ndarray of shape (n,), bool
        Which of them are of class 1.
    weights : ndarray of shape (n,), int64
        Their multiplicities.
    """
    chosen = [(f, w) for f, w in zip(features, real_values(network, network.weights[0][:, 0]), strict=True) if w]
    chosen.sort(key=lambda pair: (-abs(pair[1]), pair[0].name))
    risk = () if temperature is None else _risk_table(temperature, totals, positive, weights)
    return ScoreCard(target, real_values(network, network.biases[0])[0], tuple(chosen), risk)


def real_values(network: IntegerNetwork, parameters: NDArray[np.int64]) -> list[float]:
    """Return weights of the only layer as numbers: integers, or fractions where they are continuous."""
    denominator = network.architecture.layers[0].weights.denominator
    return parameters.tolist() if denominator == 1 else (parameters / denominator).tolist()


def _risk_table(
    temperature: float, totals: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.int64]
) -> tuple[tuple[float, float, float, int, float], ...]:
    """Cut the range of the training totals into about ten steps and compare predicted with observed risk."""
    low, high = math.floor(totals.min()), math.ceil(totals.max())
    step = max(1, round((high - low) / 10))
    rows = []
    for start in range(low, max(high, low + 1), step):
        last = start + step >= high
        inside = (totals >= start) & ((totals < start + step) | last)
        count = int(weights[inside].sum())
        observed = float(weights[inside & positive].sum() / count) if count else float("nan")
        middle = start + step / 2
        rows.append((float(start), float(start + step), 1 / (1 + math.exp(-middle / temperature)), count, observed))
    return tuple(rows)
