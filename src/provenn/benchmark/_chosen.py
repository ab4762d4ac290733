"""What a user of the estimator gets with everything left open: temperature, price and method by validation."""

from provenn.benchmark.task import Job, Outcome
from provenn.errors import CapabilityError
from provenn.estimators import IntegerNetworkClassifier
from provenn.plan import Plan


def train_chosen(job: Job) -> Outcome:
    """Choose and train as `IntegerNetworkClassifier` does, within the time of the run.

    The loss is logistic without hidden layers and with one output, and else cross entropy, whatever
    the task's is.
    """
    problem = job.problem
    layer, hidden = problem.architecture.layers[0], problem.architecture.hidden
    if problem.constraints:
        raise CapabilityError("the task has side constraints, which would be left out")
    options = IntegerNetworkClassifier(
        hidden,
        weight_bound=layer.weights,
        bias_bound=layer.bias,
        loss="cross_entropy" if hidden and problem.architecture.n_outputs > 1 else "logistic",
        nonzero_price=0 if hidden or not layer.weights.has_zero else "auto",
    ).get_params(deep=False)
    plan = Plan(options, problem.dataset, [], 1)
    limits = plan.choose(job.limits)
    chosen = plan.problem()
    result = plan.trainer(chosen).train(chosen, limits, plan.start())
    setting, trials = plan.setting, plan.selection.trials if plan.selection is not None else ()
    note = f"temperature {setting.temperature:.3g}, price {setting.nonzero_price:g}, {setting.method}"
    validation = next((100 * trial.accuracy for trial in trials if trial.setting == setting), None)
    return Outcome(network=result.network, validation=validation, stopped="chosen", note=note)
