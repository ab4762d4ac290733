"""Layer 4: training, by one engine or a combination of them."""

from provenn.trainers._base import OnProgress, Progress, Trainer, TrainResult

__all__ = ["OnProgress", "Progress", "TrainResult", "Trainer"]
