"""Layer 3: what training minimises, one loss a file."""

from provenn.losses._base import ConvexCurve, Curve, Loss, Model, SeparableLoss

__all__ = ["ConvexCurve", "Curve", "Loss", "Model", "SeparableLoss"]
