"""Layer 3: what training minimises, one loss a file."""

from provenn.losses._base import Curve, Loss, Model, SeparableLoss

__all__ = ["Curve", "Loss", "Model", "SeparableLoss"]
