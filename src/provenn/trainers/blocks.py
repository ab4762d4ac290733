"""Large neighbourhood search: the training MIP solved block by block, from the best known network."""

from dataclasses import dataclass

from provenn.errors import CapabilityError, InputError
from provenn.formulations import Problem
from provenn.milp import Limits
from provenn.network import IntegerNetwork
from provenn.search.blocks import KINDS
from provenn.solvers import Solver
from provenn.status import Status
from provenn.trainers._base import OnProgress, Record, Trainer, TrainResult
from provenn.trainers._block_search import BlockSearch
from provenn.trainers._start import warm_up


@dataclass(frozen=True)
class Blocks(Trainer):
    """Free a block of parameters, fix the others, solve the small MIP, and repeat.

    The kinds of blocks compete by their gain per second. A block that is solved to proof without
    a gain makes the next ones of its kind larger, one that runs out of time makes them smaller.
    Only networks whose exact objective is not worse are accepted, so that the result is never
    worse than the start. When every smaller block is proven, the block of all parameters is
    solved; its bound is a bound of the problem.

    Parameters
    ----------
    solver : Solver, optional
        By default the one that proves such models fastest.
    block_seconds : float
        Time limit of a block, at first.
    neighbourhoods : tuple of str
        Out of `provenn.search.blocks.KINDS`.

    References
    ----------
    Kurtz & Bah, arXiv 2110.11382 (alternation). Toro Icarte, Illanes, Castro, Cire, McIlraith &
    Beck, CP 2019, doi 10.1007/978-3-030-30048-7_24 (neurons that keep their activations).

    Examples
    --------
    >>> from provenn.formulations import Problem
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset
    >>> data = Dataset.merge([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> xor = Problem(Architecture.build(2, 2, hidden=(2,)), data, MaxCorrect())
    >>> result = Blocks().train(xor, Limits(seconds=60))
    >>> result.certificate.loss
    0
    """

    solver: Solver | None = None
    block_seconds: float = 4.0
    neighbourhoods: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        """Check time and names."""
        if not self.block_seconds > 0:
            raise InputError(f"block_seconds must be above 0, got {self.block_seconds}")
        unknown = sorted(set(self.neighbourhoods) - set(KINDS))
        if unknown:
            raise InputError(f"unknown neighbourhoods {', '.join(unknown)}; choose out of {', '.join(KINDS)}")

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Say why blocks do not apply to a problem, or None when they do."""
        return "the weights are continuous, and blocks free integers" if problem.architecture.continuous else None

    def train(
        self,
        problem: Problem,
        limits: Limits,
        start: IntegerNetwork | None = None,
        on_progress: OnProgress | None = None,
    ) -> TrainResult:
        """Return the best network with its certificate; see `Trainer.train`."""
        reason = self.obstacle(problem)
        if reason is not None:
            raise CapabilityError(f"blocks do not apply: {reason}; choose solver='auto'")
        record = Record(problem, on_progress)
        search = BlockSearch(record, limits, self.solver, self.block_seconds, self.neighbourhoods)
        try:
            record.begin(start)
            warm_up(record, limits)
            status = search.run()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        return record.finish(status, search.prover, search.nodes, search.message, status is not Status.REJECTED)
