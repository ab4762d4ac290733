"""From the radius of perturbations, as people give it, to grid units of every encoded feature."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from provenn.encoding import Feature
from provenn.errors import InputError
from provenn.network.intervals import NORMS, Norm

RULES = ("auto", "pattern", "worst_case")
Excluded = Sequence[str] | Literal["categorical"]


@dataclass(frozen=True)
class Perturbation:
    """A ball around every sample.

    Parameters
    ----------
    radius : tuple of int
        One entry for each encoded feature, in grid units, rounded up.
    norm : {"inf", "1", "2"}
    """

    radius: tuple[int, ...]
    norm: Norm

    @classmethod
    def of(
        cls, radius: Any, norm: Any, exclude: Excluded, features: Sequence[Feature], scale: int
    ) -> "Perturbation | None":
        """Turn what a person gives into a ball, or None for a radius of 0.

        Parameters
        ----------
        radius : float, mapping of raw columns to floats, or sequence of floats
            In units of the scaled features, which lie in 0..1 in training: one for all, some
            columns by name (the others are not perturbed), or one for each encoded feature.
        norm : "inf", 1, 2, "1" or "2"
        exclude : sequence of raw columns, or "categorical"
            Features that are never perturbed.
        features : sequence of Feature
        scale : int
            Grid units in 1.

        Raises
        ------
        InputError
            For negative radii, radii above the range of the data, unknown norms and columns.

        Examples
        --------
        >>> age, job = Feature("age", "age", "grid"), Feature("job = x", "job", "category")
        >>> Perturbation.of(0.05, "inf", "categorical", [age, job], 1000)
        Perturbation(radius=(50, 0), norm='inf')
        """
        name = _norm(norm)
        values = _radii(radius, features)
        columns = {feature.column for feature in features}
        if exclude != "categorical":
            unknown = sorted(set(exclude) - columns)
            if unknown:
                raise InputError(f"robust_exclude names the column {unknown[0]!r}, which the data do not have")
        fixed = [f.kind == "category" if exclude == "categorical" else f.column in exclude for f in features]
        grid = tuple(0 if out else ceil(round(r * scale, 9)) for r, out in zip(values, fixed, strict=True))
        return cls(grid, name) if any(grid) else None


def _norm(norm: Any) -> Norm:
    text = str(int(norm)) if isinstance(norm, Integral) or norm in (1.0, 2.0) else str(norm)
    for known in NORMS:
        if text == known or (known == "inf" and norm == float("inf")):
            return known
    raise InputError(f"unknown robust_norm {norm!r}: choose 'inf', 1 or 2")


def _radii(radius: Any, features: Sequence[Feature]) -> list[float]:
    """Return one checked radius for each feature."""
    if isinstance(radius, Mapping):
        unknown = sorted(set(radius) - {feature.column for feature in features})
        if unknown:
            raise InputError(f"robust_radius names the column {unknown[0]!r}, which the data do not have")
        values = [radius.get(feature.column, 0.0) for feature in features]
    elif np.ndim(radius) == 0:
        values = [radius] * len(features)
    else:
        values = list(radius)
        if len(values) != len(features):
            raise InputError(f"robust_radius has {len(values)} entries for {len(features)} encoded features")
    for value, feature in zip(values, features, strict=True):
        if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) <= 1:
            raise InputError(
                f"robust_radius of {feature.name!r} is {value!r}: give a number from 0 to 1, the range of a scaled "
                "feature in training"
            )
    return [float(value) for value in values]
