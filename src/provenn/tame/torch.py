"""PyTorch: values of mixed-integer programs, layers with integer weights, and MIP-optimal heads.

* `mip_value`: the optimal value as a differentiable function of A, b and c, over a `Template`;
* `BinaryLayer`: integer weights and sign or step, with the gradients of regularised layer problems, and
  `to_integer_network`, which turns a chain of them into an `IntegerNetwork` bit for bit;
* `MIPHead`: last layers that are optimal for the features before them, under side constraints.

The only public module of provenn that needs PyTorch. Importing it without raises `MissingDependencyError`.
"""

from provenn.tame._torch_activations import on_grid, quantised, regularised, threshold
from provenn.tame._torch_head import HeadRecord, MIPHead
from provenn.tame._torch_hinge import PricedHinge, Range, Step, safe_price
from provenn.tame._torch_layers import BinaryLayer, to_integer_network
from provenn.tame._torch_lazy import Certify, Lipschitz, LowerBound, MilpCertificate, by_answer, by_certificate
from provenn.tame._torch_programs import Answer, Solve, solve_here
from provenn.tame._torch_value import MIPValue, Template, mip_value

__all__ = [
    "Answer",
    "BinaryLayer",
    "Certify",
    "HeadRecord",
    "Lipschitz",
    "LowerBound",
    "MIPHead",
    "MIPValue",
    "MilpCertificate",
    "PricedHinge",
    "Range",
    "Solve",
    "Step",
    "Template",
    "by_answer",
    "by_certificate",
    "mip_value",
    "on_grid",
    "quantised",
    "regularised",
    "safe_price",
    "solve_here",
    "threshold",
    "to_integer_network",
]
