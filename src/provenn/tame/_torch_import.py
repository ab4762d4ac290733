"""PyTorch, without its types: every name of it is `Any`."""

import importlib
from typing import Any

from provenn.errors import MissingDependencyError

try:
    torch: Any = importlib.import_module("torch")
except ImportError as error:
    raise MissingDependencyError(
        "provenn.tame.torch needs PyTorch, which is not installed: pip install 'provenn[torch]'"
    ) from error

Tensor = Any
Module: Any = torch.nn.Module
Function: Any = torch.autograd.Function
once_differentiable: Any = torch.autograd.function.once_differentiable
