"""The methods that run on every task, by name: ours, and opponents in the same run."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from provenn.benchmark._chosen import train_chosen
from provenn.benchmark._gradient import train_straight_through
from provenn.benchmark._plain_model import solve_plainly
from provenn.benchmark._search import NOISY, search_alone
from provenn.benchmark.task import Job, Method, Outcome
from provenn.choices import trainer_of
from provenn.errors import CapabilityError, SolverError
from provenn.search._gradient_passes import available, load_torch
from provenn.solvers import Solver
from provenn.trainers import Trainer, agreement, hull
from provenn.trainers._portfolio_primal import compile_search
from provenn.trainers.convex import compile_kernels

FLOAT_BITS = 64


def _train(job: Job, trainer: Trainer) -> Outcome:
    return Outcome.of_training(trainer.train(job.problem, job.limits, None, job.on_progress))


def _provenn(job: Job) -> Outcome:
    return _train(job, trainer_of("auto", job.problem))


def _solver(job: Job, name: str) -> Outcome:
    return _train(job, trainer_of(name, job.problem))


def _big_m(job: Job, name: str) -> Outcome:
    options = {"mode": "default"} if name == "cpsat" else {}
    try:
        return Outcome.of_training(solve_plainly(job, Solver.create(name, **options)))
    except SolverError as error:
        if "licence" in str(error):
            raise CapabilityError(str(error)) from error
        raise


def _compile() -> None:
    compile_kernels()
    agreement.compile_kernels()
    hull.compile_kernels()
    compile_search()
    if available():
        load_torch()


def _load_torch() -> None:
    load_torch()


def _real(job: Job) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    return job.rows.X / job.split.scale, job.rows.y, job.split.scale


def _logistic(job: Job, tuned: bool, penalty: float = 1.0) -> Outcome:
    """Logistic regression with real weights: a given penalty 1 / C, or chosen by 5-fold cross-validation."""
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold

    X, y, scale = _real(job)
    folds = min(5, int(np.bincount(y).min()))
    if tuned and folds < 2:
        raise CapabilityError("cross-validation needs two samples of every class")
    inner = StratifiedKFold(max(folds, 2), shuffle=True, random_state=job.limits.seed)
    model = (
        LogisticRegressionCV(Cs=8, cv=inner, max_iter=5000, scoring="neg_log_loss", use_legacy_attributes=False)
        if tuned
        else LogisticRegression(C=1 / penalty, max_iter=20_000)
    )
    model.fit(X, y)
    bits = FLOAT_BITS * (model.coef_.size + model.intercept_.size)
    return Outcome(predict=lambda rows: model.predict(rows / scale), size_bits=bits, stopped="converged")


def _mlp(job: Job) -> Outcome:
    """Train a ReLU network of the same hidden shape with real weights, scikit-learn's defaults."""
    from sklearn.neural_network import MLPClassifier

    hidden = job.problem.architecture.hidden
    if not hidden:
        raise CapabilityError("the task has no hidden layer")
    X, y, scale = _real(job)
    model = MLPClassifier(hidden, max_iter=500, random_state=job.limits.seed).fit(X, y)
    bits = FLOAT_BITS * sum(part.size for part in (*model.coefs_, *model.intercepts_))
    return Outcome(predict=lambda rows: model.predict(rows / scale), size_bits=bits, stopped="converged")


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("provenn", _provenn, "the trainer that provenn chooses by default", _compile),
        Method("provenn_chosen", train_chosen, "the estimator with all choices left to validation data", _compile),
        Method("search", search_alone, "local search alone", compile_search),
        Method(
            "search_noisy",
            partial(search_alone, annealing=NOISY),
            "local search alone, annealing over noisy copies",
            compile_search,
        ),
        Method("cpsat", partial(_solver, name="cpsat"), "our exact model on CP-SAT", compile_kernels),
        Method("bigm_highs", partial(_big_m, name="highs"), "plain big-M model on HiGHS, defaults, no start"),
        Method("bigm_scip", partial(_big_m, name="scip"), "plain big-M model on SCIP, defaults, no start"),
        Method("bigm_cpsat", partial(_big_m, name="cpsat"), "plain big-M model on CP-SAT, defaults, no start"),
        Method("bigm_gurobi", partial(_big_m, name="gurobi"), "plain big-M model on Gurobi, defaults, no start"),
        Method("ste", partial(train_straight_through, early_stopping=False), "straight-through training", _load_torch),
        Method(
            "ste_stopped",
            partial(train_straight_through, early_stopping=True),
            "straight-through training, stopped early on a fifth of the training rows",
            _load_torch,
        ),
        Method("logistic", partial(_logistic, tuned=False), "logistic regression, C = 1", needs_problem=False),
        Method(
            "logistic_free",
            partial(_logistic, tuned=False, penalty=1e-6),
            "the same, almost without a penalty",
            needs_problem=False,
        ),
        Method("logistic_cv", partial(_logistic, tuned=True), "the same, C by cross-validation", needs_problem=False),
        Method("mlp", _mlp, "ReLU network of the same shape, real weights"),
    )
}
