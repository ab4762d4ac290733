"""One training of a portfolio: its workers, the wait for their results, and the end."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

from provenn.milp import Limits
from provenn.status import Status
from provenn.trainers._base import Proof, Record, TrainResult
from provenn.trainers._portfolio_gradient import GradientWorker, wanted
from provenn.trainers._portfolio_primal import Primal, make_ready
from provenn.trainers._portfolio_telling import Teller
from provenn.trainers._portfolio_turns import Turn, Turns
from provenn.trainers._portfolio_workers import SEARCH_WEIGHT, Worker, provers, searches

TICK = 0.05
FAREWELL = 5.0
OPENING = 1.0
PATIENCE = 1.5
STALL, STALLED_WEIGHT = 2.0, 0.5
LEAST = "the least value of the loss"
REASONS = (
    Status.OPTIMAL,
    Status.MEMORY_LIMIT,
    Status.CRASHED,
    Status.NODE_LIMIT,
    Status.TIME_LIMIT,
    Status.REJECTED,
)


class Run:
    """Runs workers in threads; the calling thread deals out turns, tells the listener and decides when to end.

    Parameters
    ----------
    record : Record
        Its listener is the teller.
    limits : Limits
    teller : Teller
    rounds : int
        Rounds of search that earlier runs did.
    """

    def __init__(self, record: Record, limits: Limits, teller: Teller, rounds: int) -> None:
        """Nothing runs before `go`."""
        self.record, self.limits, self.teller, self.rounds_before = record, limits, teller, rounds
        self.opened = Event()
        self.in_order = limits.threads == 1 and limits.nodes is not None
        self.turns = Turns(limits.threads, self.in_order)
        self.waiting: list[Worker] = []
        self.searches: list[Primal] = []
        self.active: dict[Future[Proof], tuple[Worker, Turn]] = {}
        self.proofs: dict[str, Proof] = {}
        self.distrusted: set[str] = set()
        self.closing_time: float | None = None
        self.last_loss: int | None = None
        self.improved_at = 0.0
        self.notes: list[str] = []

    def prepare(self, bounds: bool, solvers: Sequence[str] | None, gradient: bool | None) -> None:
        """Choose the workers, before any work.

        Parameters
        ----------
        bounds : bool
            Whether to have provers.
        solvers : sequence of str, optional
            See `provers`.
        gradient : bool, optional
            Whether to train by gradients, too; None leaves it to `wanted`.
        """
        record, limits, problem = self.record, self.limits, self.record.problem
        found, note = provers(problem, record, limits, solvers) if bounds else ([], "")
        self.searches = searches(problem, record, limits, self.opened, len(found), self.rounds_before)
        primal = [Worker("search", one.work, SEARCH_WEIGHT, proves=False) for one in self.searches]
        if self.searches:
            make_ready(problem)
        # Further searching workers, such as solvers on parts of a large model, belong beside these.
        if wanted(problem, gradient):
            primal.append(Worker("gradient", GradientWorker(record, limits).work, proves=False))
        self.waiting = [*primal, *found]
        self.notes += [note] if note else []

    @property
    def rounds(self) -> int:
        """Rounds of the first search, with those of earlier runs."""
        return self.searches[0].rounds if self.searches else self.rounds_before

    def go(self) -> TrainResult:
        """Run until something ends it, and certify."""
        pool = ThreadPoolExecutor(max(1, len(self.waiting)), "provenn")
        try:
            try:
                status = self._attend_until_the_end(pool)
            except KeyboardInterrupt:
                status = Status.INTERRUPTED
        finally:
            self.turns.stop()
            wait(self.active, FAREWELL)
            pool.shutdown(wait=False)
        return self._finish(status)

    def _attend_until_the_end(self, pool: ThreadPoolExecutor) -> Status:
        while True:
            self._start_workers(pool)
            self._weigh_searches()
            self.turns.deal()
            self.teller.attend(self.record, self.rounds)
            self._take_results()
            self._check_claims()
            status = self._ending()
            if status is not None:
                return status
            self.teller.wait(min(TICK, max(0.0, self.limits.seconds - self.record.elapsed)))

    def _start_workers(self, pool: ThreadPoolExecutor) -> None:
        """Start those that wait for nothing, and all when the search has opened or taken its time for that."""
        patience = min(OPENING, self.limits.seconds * 0.2) if self.limits.threads > 1 else self.limits.seconds * 0.2
        opened = self.opened.is_set() or not self.searches
        opened = opened or (self.record.elapsed > patience and self.limits.nodes is None)
        for worker in [one for one in self.waiting if opened or not one.waits]:
            self.waiting.remove(worker)
            turn = self.turns.join(worker.weight)
            future = pool.submit(worker.work, turn)
            self.active[future] = worker, turn
            future.add_done_callback(self.teller.wake)

    def _weigh_searches(self) -> None:
        """Leave most of the threads to provers while searching finds nothing, and take them back when it does."""
        now = self.record.elapsed
        if self.record.loss != self.last_loss:
            self.last_loss, self.improved_at = self.record.loss, now
        stalled = now - self.improved_at > max(STALL, now / 2)
        for worker, turn in self.active.values():
            if not worker.proves:
                turn.weight = STALLED_WEIGHT if stalled else worker.weight

    def _take_results(self) -> None:
        """Take the proofs of workers that ended; what a worker raises is raised here."""
        for future in [one for one in self.active if one.done()]:
            worker, turn = self.active.pop(future)
            turn.ended = True
            proof = future.result()
            if proof.status is Status.REJECTED:
                self._distrust(worker.name, proof.message)
            elif proof.message:
                self.notes.append(f"{worker.name}: {proof.message}")
            if worker.proves:
                self.proofs[worker.name] = proof

    def _check_claims(self) -> None:
        """Withdraw bounds above the exact loss of a network: whoever claimed them is wrong."""
        with self.record.lock:
            loss, claims = self.record.loss, dict(self.record.claims)
        for name, claim in claims.items():
            if name in self.distrusted:
                self.record.withdraw(name)
            elif loss is not None and claim > loss:
                self._distrust(name, f"its bound {claim} exceeds the exact loss {loss} of a network")

    def _distrust(self, name: str, why: str) -> None:
        self.distrusted.add(name)
        self.record.withdraw(name)
        self.notes.append(f"{name} is not believed: {why}")
        for worker, turn in self.active.values():
            if worker.name == name:
                turn.stop.set()

    def _ending(self) -> Status | None:
        """Return why to end now, or None.

        Search alone goes on until a limit; it ends with the last prover where there is no limit on
        time, or one on nodes.
        """
        self._notice_the_least()
        done = {proof.status for name, proof in self.proofs.items() if name not in self.distrusted}
        if self.record.closed or (Status.OPTIMAL in done and self._out_of_patience()):
            return Status.OPTIMAL
        if Status.INFEASIBLE in done:
            return Status.INFEASIBLE
        if self.record.elapsed >= self.limits.seconds:
            return Status.TIME_LIMIT
        if self.waiting:
            return None
        proving = any(worker.proves for worker, _ in self.active.values())
        limited = self.limits.nodes is not None and not self.in_order
        endless = self.limits.seconds == float("inf") or Status.OPTIMAL in done
        given_up = bool(self.proofs) and not proving and (limited or endless)
        return self._why_workers_ended() if given_up or not self.active else None

    def _notice_the_least(self) -> None:
        """Raise the bound to the least value that the loss can have when a network has it."""
        loss, floor = self.record.loss, self.record.problem.floor
        if loss is not None and floor is not None and loss <= floor:
            self.record.raise_bound(floor, LEAST)

    def _out_of_patience(self) -> bool:
        """Whether to stop at a proof that holds up to a tolerance, after a chance for others to close the rest."""
        if self.closing_time is None:
            self.closing_time = PATIENCE * self.record.elapsed + OPENING
        return self.record.elapsed > self.closing_time and not self.in_order

    def _why_workers_ended(self) -> Status:
        reasons = {proof.status for name, proof in self.proofs.items() if name not in self.distrusted}
        return (
            Status.OPTIMAL
            if Status.OPTIMAL in reasons
            else next((status for status in REASONS if status in reasons), Status.NODE_LIMIT)
        )

    def _finish(self, status: Status) -> TrainResult:
        """Take what came last, write and tell it, and certify."""
        self._take_results()
        self._check_claims()
        self.teller.attend(self.record, self.rounds, last=True)
        if self.teller.trouble:
            self.notes.append(self.teller.trouble)
        nodes = sum(proof.nodes for proof in self.proofs.values())
        return self.record.finish(status, self.record.proved_by, nodes, "; ".join(dict.fromkeys(self.notes)))
