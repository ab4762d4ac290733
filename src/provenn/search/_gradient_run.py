"""Latent weights, Adam and batches: the state of a gradient training."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from provenn.errors import InputError
from provenn.network import Architecture, Dataset, IntegerNetwork
from provenn.search._gradient_passes import (
    Shape,
    Tensor,
    describe,
    exact_scores,
    load_torch,
    spreads,
)

SOFT, SHARP = 2.0, 0.5
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
FEWEST_FEATURES = 10
FEW_SAMPLES, SMALL_BATCH, BATCH = 500, 20, 100
DROPOUTS = ((FEW_SAMPLES, 0.5), (5000, 0.3), (20000, 0.15))


@dataclass(frozen=True)
class GradientOptions:
    """Settings of `train`.

    Parameters
    ----------
    learning_rate : float
        Largest step of Adam, in half widths of the domain; it falls to 0 on a cosine.
    epochs : int, optional
        Passes over the data; by default about 5,000 steps, or what the time allows.
    batch_size : int, optional
        Distinct samples in a step; by default 20 below 500 samples, else 100.
    temperature : float, optional
        Scores are divided by it before the logistic or softmax loss; see `default_temperature`.
    input_dropout : float, optional
        Share of inputs set to 0 at random in every step, in [0, 1); by default 0.5 below 500
        samples, 0.3 below 5,000, 0.15 below 20,000, else 0; 0 with fewer than 10 features.
    sign_width : float
        Width of the gradient of the sign, in deviations of a pre-activation with random weights.
    weight_decay : float
        Pull of the latent weights to 0, relative to the learning rate.
    averaging : float
        Decay of a running mean of the latent weights, in [0, 1), which is rounded as well; 0 for none.
    evaluations : int
        How often the rounded network is scored.
    restarts : int
        Equal shares of the training, each with a schedule of its own; all but the first begin
        at random. Tiny networks need them, since gradients get stuck there.
    """

    learning_rate: float = 0.05
    epochs: int | None = None
    batch_size: int | None = None
    temperature: float | None = None
    input_dropout: float | None = None
    sign_width: float = 2.0
    weight_decay: float = 0.0
    averaging: float = 0.0
    evaluations: int = 50
    restarts: int = 1

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        positive = ("learning_rate", "batch_size", "sign_width", "evaluations", "restarts", "epochs", "temperature")
        for name in positive:
            given = getattr(self, name)
            if given is not None and not 0 < given < math.inf:
                raise InputError(f"{name} = {given} is not usable: give a positive number")
        for name in ("input_dropout", "averaging"):
            given = getattr(self, name)
            if given is not None and not 0 <= given < 1:
                raise InputError(f"{name} = {given} is not usable: give a number of at least 0 and below 1")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay = {self.weight_decay} is not usable: give a number of at least 0")

    def batch(self, n_samples: int) -> int:
        """Return the number of samples in a step."""
        return self.batch_size or (SMALL_BATCH if n_samples < FEW_SAMPLES else BATCH)

    def dropout(self, n_samples: int, n_features: int) -> float:
        """Return the share of dropped inputs for numbers of samples and features."""
        if self.input_dropout is not None:
            return self.input_dropout
        if n_features < FEWEST_FEATURES:
            return 0.0
        return next((share for limit, share in DROPOUTS if n_samples < limit), 0.0)


def default_temperature(architecture: Architecture, dataset: Dataset) -> float:
    """Return the temperature of training in real units, from the deviation of a score with random weights.

    Twice the deviation for one output behind hidden layers, otherwise half of it: measured
    on validation data, noisy two-class tables want soft scores, images of ten classes
    sharp ones, and a single layer with soft scores would use every feature it has.
    """
    soft = architecture.n_outputs == 1 and bool(architecture.hidden)
    return (SOFT if soft else SHARP) * spreads(architecture, dataset)[-1]


@dataclass
class Run:
    """Latent weights, their optimiser and the data as tensors."""

    architecture: Architecture
    dataset: Dataset
    options: GradientOptions
    seed: int
    start: IntegerNetwork | None
    shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        """Draw or copy the latent weights."""
        torch, options = load_torch(), self.options
        self.generator = torch.Generator().manual_seed(self.seed)
        self.shape = describe(self.architecture, self.dataset, options.sign_width)
        self.temperature = options.temperature or default_temperature(self.architecture, self.dataset)
        self.drop = options.dropout(self.dataset.n_samples, len(self.shape.columns))
        self.n_batches = max(1, round(self.dataset.n_samples / options.batch(self.dataset.n_samples)))
        self.x = self.shape.inputs(self.dataset.X)
        self.y = torch.tensor(self.dataset.y)
        self.weights = torch.tensor(
            self.dataset.multiplicity / self.dataset.multiplicity.mean(), dtype=self.shape.dtype
        )
        if self.start is not None:
            self.begin(self.shape.parameters(self.start.weights, self.start.biases))
        else:
            self.begin(self.random())

    def begin(self, latent: list[Tensor]) -> None:
        """Begin at latent weights, with a fresh optimiser."""
        torch = load_torch()
        self.latent, self.count = latent, 0
        self.first = [torch.zeros_like(v) for v in latent]
        self.second = [torch.zeros_like(v) for v in latent]
        self.mean = [v.clone() for v in latent] if self.options.averaging else []

    def random(self) -> list[Tensor]:
        """Return uniform random numbers between the ends of the domains."""
        torch, latent = load_torch(), []
        sizes = [len(self.shape.columns), *self.architecture.hidden]
        for layer, n_in, box in zip(self.architecture.layers, sizes, self.shape.boxes, strict=True):
            u = torch.rand((n_in + 1, layer.n_out), generator=self.generator, dtype=self.shape.dtype)
            latent.append(box.low + (box.high - box.low) * u)
        return latent

    def batches(self) -> Iterator[Tensor]:
        """Yield the rows of every step of one pass, in random order."""
        if self.n_batches == 1:
            yield slice(None)
            return
        order = load_torch().randperm(self.dataset.n_samples, generator=self.generator)
        yield from order.tensor_split(self.n_batches)

    def step(self, rows: Tensor, progress: float) -> None:
        """Take one step of Adam at a progress of 0 to 1 in its schedule."""
        torch = load_torch()
        x = self.x[rows]
        if self.drop:
            x = x * (torch.rand(x.shape, generator=self.generator) >= self.drop)
        leaves = [v.requires_grad_() for v in self._rounded(self.latent)]
        scores = exact_scores(self.shape, leaves, x, 1.0 - self.drop)
        loss = (self._losses(scores, self.y[rows]) * self.weights[rows]).mean()
        gradients = torch.autograd.grad(loss, leaves)
        rate = self.options.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
        self.count += 1
        with torch.no_grad():
            for layer, gradient in enumerate(gradients):
                self._adam(layer, gradient, rate)

    def _adam(self, layer: int, gradient: Tensor, rate: float) -> None:
        """Move the latent weights of a layer and keep them between the ends of the domains."""
        v, m, s, box = self.latent[layer], self.first[layer], self.second[layer], self.shape.boxes[layer]
        m.lerp_(gradient, 1.0 - BETA_1)
        s.mul_(BETA_2).addcmul_(gradient, gradient, value=1.0 - BETA_2)
        direction = m / (s / (1.0 - BETA_2**self.count)).sqrt_().add_(EPSILON)
        if self.options.weight_decay:
            v.mul_(1.0 - rate * self.options.weight_decay)
        v.sub_(direction.mul_(0.5 * (box.high - box.low) * rate / (1.0 - BETA_1**self.count)))
        box.clip(v)
        if self.mean:
            self.mean[layer].lerp_(v, 1.0 - self.options.averaging)

    def _losses(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the loss of every sample in nats."""
        torch = load_torch()
        z = scores / self.temperature
        if scores.shape[1] == 1:
            return torch.nn.functional.softplus((1 - 2 * y) * z[:, 0])
        return torch.nn.functional.cross_entropy(z, y, reduction="none")

    def _rounded(self, latent: list[Tensor]) -> list[Tensor]:
        return [box.round(v) for box, v in zip(self.shape.boxes, latent, strict=True)]

    def rounded(self, latent: list[Tensor]) -> IntegerNetwork:
        """Return the network of the nearest integers."""
        weights, biases = self.shape.arrays(self._rounded(latent))
        return IntegerNetwork.of(self.architecture, weights, biases, self.dataset.scale)

    def candidates(self) -> list[IntegerNetwork]:
        """Return the networks worth a score: the rounded latent weights, and their rounded running mean."""
        return [self.rounded(latent) for latent in ([self.latent, self.mean] if self.mean else [self.latent])]

    def exact_loss(self, network: IntegerNetwork) -> float:
        """Return the mean loss over the training data from exact scores."""
        torch = load_torch()
        if self.shape.covers(network):
            with torch.no_grad():
                scores = exact_scores(self.shape, self.shape.parameters(network.weights, network.biases), self.x)
        else:
            grid = 1 if self.architecture.hidden else self.dataset.scale
            scores = torch.tensor(network.scores(self.dataset.X) / grid)
        return float((self._losses(scores.double(), self.y) * self.weights.double()).mean())
