"""Sign, step and rounding with the gradients of regularised layer problems."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

from provenn.errors import InputError
from provenn.network import IntegerDomain
from provenn.tame._torch_import import Function, Tensor, once_differentiable, torch

Backward = Literal["qp", "entropy", "perturb", "blackbox", "zero"]
BACKWARDS: tuple[str, ...] = get_args(Backward)


def _qp(a: Tensor, width: float) -> Tensor:
    """Return ``argmax a h - width h^2 / 2`` over ``-1 <= h <= 1``."""
    return torch.clamp(a / width, -1.0, 1.0)


def _entropy(a: Tensor, width: float) -> Tensor:
    """Return ``argmax a h + width H(h)`` over ``-1 <= h <= 1``, H the entropy of a sign with mean h."""
    return torch.tanh(a / width)


def _perturb(a: Tensor, width: float) -> Tensor:
    """Return the mean of ``sign(a + width Z)``, Z standard normal."""
    return torch.erf(a / (width * math.sqrt(2.0)))


def _qp_slope(a: Tensor, width: float) -> Tensor:
    return (a.abs() <= width).to(a.dtype) / width


def _entropy_slope(a: Tensor, width: float) -> Tensor:
    return (1.0 - torch.tanh(a / width) ** 2) / width


def _perturb_slope(a: Tensor, width: float) -> Tensor:
    return torch.exp(-0.5 * (a / width) ** 2) * (math.sqrt(2.0 / math.pi) / width)


SMOOTH: dict[str, Callable[[Tensor, float], Tensor]] = {"qp": _qp, "entropy": _entropy, "perturb": _perturb}
SLOPES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "qp": _qp_slope,
    "entropy": _entropy_slope,
    "perturb": _perturb_slope,
}


def regularised(a: Tensor, backward: Backward, width: float, lowest: int = -1) -> Tensor:
    """Return the solution of the regularised layer problem, whose Jacobian the backward pass of `threshold` uses.

    For the sign (``lowest = -1``) ``h = clip(a / width)``, ``tanh(a / width)`` or ``erf(a / (width sqrt 2))``;
    for the step (``lowest = 0``) ``(1 + h) / 2``.

    Parameters
    ----------
    a : tensor
    backward : "qp", "entropy" or "perturb"
    width : float
        Strength of the regularisation, in units of a.
    lowest : -1 or 0

    Examples
    --------
    >>> regularised(torch.tensor([-3.0, 0.5, 3.0]), "qp", 1.0).tolist()
    [-1.0, 0.5, 1.0]
    """
    if backward not in SMOOTH:
        raise InputError(f"{backward!r} has no regularised solution: choose one of {', '.join(SMOOTH)}")
    return 1.0 - 0.5 * (1 - lowest) * (1.0 - SMOOTH[backward](a, width))


class Threshold(Function):
    """``1 if a >= 0 else lowest``, with one of the backward passes; use `threshold`."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, lowest: int, backward: Backward, width: float) -> Tensor:
        """Return the activations."""
        ctx.save_for_backward(a)
        ctx.options = (lowest, backward, width)
        return _fires(a, lowest)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient by a."""
        (a,), (lowest, backward, width) = ctx.saved_tensors, ctx.options
        if backward == "zero":
            return torch.zeros_like(gradient), None, None, None
        if backward == "blackbox":
            return (_fires(a, lowest) - _fires(a - width * gradient, lowest)) / width, None, None, None
        return 0.5 * (1 - lowest) * SLOPES[backward](a, width) * gradient, None, None, None


def _fires(a: Tensor, lowest: int) -> Tensor:
    return torch.where(a >= 0, 1.0, float(lowest)).to(a.dtype)


def threshold(a: Tensor, lowest: int = -1, backward: Backward = "qp", width: float = 1.0) -> Tensor:
    """Return ``h = 1 if a >= 0 else lowest``, exactly, with the gradient of a smoother problem.

    ``h = argmax a h`` over ``{lowest, 1}`` has no useful derivative. `backward` chooses one:

    * ``qp``: Jacobian of the quadratically regularised problem, the clipped straight-through estimator;
    * ``entropy``: of the entropically regularised one, ``(1 - tanh^2(a / width)) / width``;
    * ``perturb``: of the mean under Gaussian noise, ``sqrt(2 / pi) exp(-a^2 / (2 width^2)) / width``;
    * ``blackbox``: ``(h(a) - h(a - width g)) / width`` for the incoming gradient g, ``width`` in units of
      ``a / g``;
    * ``zero``: 0, the true derivative almost everywhere.

    The step gets half of the first three.

    Parameters
    ----------
    a : tensor
    lowest : -1 (sign) or 0 (step)
    backward : str
    width : float
        Above 0, in units of a.

    References
    ----------
    Hubara et al., arXiv 1602.02830 (clipped straight-through). Berthet et al., arXiv 2002.08676
    (perturbations). Vlastelica et al., arXiv 1912.02175 (blackbox).

    Examples
    --------
    >>> a = torch.tensor([-3.0, -0.5, 0.0, 2.0], requires_grad=True)
    >>> h = threshold(a, width=2.0)
    >>> h.sum().backward()
    >>> h.tolist(), a.grad.tolist()
    ([-1.0, -1.0, 1.0, 1.0], [0.0, 0.5, 0.5, 0.5])
    """
    check_backward(backward, width)
    return Threshold.apply(a, lowest, backward, width)


def check_backward(backward: str, width: float) -> None:
    """Refuse unknown backward passes and widths that are not positive."""
    if backward not in BACKWARDS:
        raise InputError(f"unknown backward pass {backward!r}: choose one of {', '.join(BACKWARDS)}")
    if not 0 < width < float("inf"):
        raise InputError(f"the width of a backward pass must be a positive number, got {width}")


class StraightThrough(Function):
    """A value in place of another tensor, with the gradient of the identity where that stays in its box."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, value: Tensor, low: float, high: float) -> Tensor:
        """Return the value."""
        ctx.save_for_backward(latent)
        ctx.box = (low, high)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Stop what would push a latent number further out: a step goes against the gradient."""
        ((latent,), (low, high)) = ctx.saved_tensors, ctx.box
        outwards = ((latent >= high) & (gradient < 0)) | ((latent <= low) & (gradient > 0))
        return torch.where(outwards, torch.zeros_like(gradient), gradient), None, None, None


def quantised(latent: Tensor, domain: IntegerDomain) -> Tensor:
    """Return the nearest values of a domain for latent numbers, with straight-through gradients.

    Examples
    --------
    >>> quantised(torch.tensor([-0.2, 0.7, 5.0]), IntegerDomain.ternary()).tolist()
    [0.0, 1.0, 1.0]
    """
    inside = torch.clamp(latent.detach(), domain.low, domain.high)
    value = torch.round((inside - domain.low) / domain.step) * domain.step + domain.low
    return StraightThrough.apply(latent, value, float(domain.low), float(domain.high))


def on_grid(x: Tensor, scale: int, reach: float = float("inf")) -> Tensor:
    """Return the nearest grid points within ``-reach..reach`` in grid units, float64, with straight-through gradients.

    Parameters
    ----------
    x : tensor
        Real numbers.
    scale : int
        Grid units in 1.
    reach : float
        Largest absolute value, in real units.

    Examples
    --------
    >>> on_grid(torch.tensor([0.31, -7.0]), 10, 1.0).tolist()
    [3.0, -10.0]
    """
    units = x.to(torch.float64) * scale
    end = float("inf") if math.isinf(reach) else math.floor(reach * scale)
    return StraightThrough.apply(units, torch.round(torch.clamp(units.detach(), -end, end)), -end, end)
