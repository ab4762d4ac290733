"""The command line: `provenn train`, `predict`, `verify`, `check`, `report`, `solvers` and `bench`."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from provenn import __version__, registry
from provenn._cli_options import bound, kinds, number_or_auto, one_of, price, radius, share_or_folds, sizes
from provenn.errors import InfeasibleError, NoAnswerError, ProvennError, SolverError

OK, BAD_INPUT, INFEASIBLE, NO_ANSWER = 0, 1, 2, 3
INTERRUPTED = 130
"""What newer versions of typer return for Ctrl-C."""
LOSSES = registry.names("provenn.losses")
ENGINES = (
    "portfolio", "search", "convex", "agreement", "hull", "tree", "blocks", "gradient", "alternating", "splitting"
)  # fmt: skip
SOLVERS = ("auto", *ENGINES, *registry.names("provenn.solvers"))

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DATA = "CSV, Parquet or NPZ file, - for CSV on standard input, sklearn:NAME or openml:NAME."
Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA, show_default=False)]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Model file that train -o wrote.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"provenn {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _entry(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Train small neural networks with integer weights to proven optimality, or with an honest gap.

    Exit codes: 0 done, 1 bad input or usage, 2 no network satisfies the conditions, 3 stopped at a
    limit without an answer.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def train(
    data: Data,
    target: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of the labels; sets from sklearn: name it themselves.")
    ] = None,
    hidden: Annotated[str, typer.Option(metavar="N,N", help="Units of each hidden layer, e.g. 16,16.")] = "",
    activation: Annotated[str, typer.Option(metavar="NAME", help="Of hidden units: sign or step.")] = "sign",
    weights: Annotated[
        str, typer.Option(metavar="KIND", help="integer or continuous; or one of them for each layer, by commas.")
    ] = "integer",
    weight_bound: Annotated[
        str, typer.Option(metavar="P", help="Weights are -P..P, P from 1 to 127; or binary, ternary.")
    ] = "1",
    bias_bound: Annotated[str, typer.Option(metavar="P", help="Like --weight-bound; auto, or none.")] = "auto",
    loss: Annotated[str, typer.Option(metavar="LOSS", help=f"One of {', '.join(LOSSES)}.")] = "logistic",
    temperature: Annotated[
        str, typer.Option(metavar="TAU", help="Of the logistic loss, in units of the score; or auto.")
    ] = "auto",
    solver: Annotated[str, typer.Option(metavar="SOLVER", help=f"One of {', '.join(SOLVERS)}.")] = "auto",
    validation: Annotated[
        str,
        typer.Option(metavar="SHARE", help="What auto judges by: a share held out, or a number of folds."),
    ] = "auto",
    early_stopping: Annotated[
        bool, typer.Option("--early-stopping", help="Keep the network that is best on held-out samples.")
    ] = False,
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="The best network so far is kept.")] = 60.0,
    node_limit: Annotated[int | None, typer.Option(metavar="N", help="Search nodes; repeats exactly.")] = None,
    memory_limit: Annotated[int | None, typer.Option(metavar="MIB", help="Memory of the solver.")] = None,
    max_nonzeros: Annotated[int | None, typer.Option(metavar="K", help="At most K non-zero weights.")] = None,
    fan_in: Annotated[int | None, typer.Option(metavar="K", help="At most K non-zero weights a neuron.")] = None,
    nonzero_price: Annotated[
        str, typer.Option(metavar="PRICE", help="Cost of a non-zero weight, added to the loss; or auto.")
    ] = "0",
    neuron_price: Annotated[float, typer.Option(help="Cost of a hidden neuron, added to the loss.")] = 0.0,
    l1_price: Annotated[float, typer.Option(help="Cost of the sum of absolute weights.")] = 0.0,
    l2_price: Annotated[float, typer.Option(help="Cost of the sum of squared weights.")] = 0.0,
    parts: Annotated[int | None, typer.Option(metavar="N", help="Of solver splitting: parts of the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Of solver splitting: rows a round.")] = None,
    robust_radius: Annotated[
        float, typer.Option(metavar="R", help="Withstand perturbations of scaled features (0..1) up to R.")
    ] = 0.0,
    robust_norm: Annotated[str, typer.Option(metavar="NORM", help="Of perturbations: inf, 1 or 2.")] = "inf",
    robust_rule: Annotated[str, typer.Option(metavar="RULE", help="pattern, worst_case or auto.")] = "auto",
    robust_price: Annotated[
        float | None, typer.Option(metavar="PRICE", help="Of a sample whose activations may change; else a condition.")
    ] = None,
    robust_exclude: Annotated[
        list[str] | None, typer.Option(metavar="COL", help="Never perturbed; categorical for all categories.")
    ] = None,
    quantize: Annotated[
        str, typer.Option(metavar="HOW", help="Numeric columns: grid (scaled) or thermometer (bits).")
    ] = "grid",
    grid_steps: Annotated[int, typer.Option(metavar="N", help="Steps from the least to the largest value.")] = 10_000,
    bits: Annotated[int, typer.Option(metavar="N", help="Thermometer bits a column.")] = 4,
    categorical: Annotated[
        list[str] | None, typer.Option(metavar="COL", help="Treat a column as categories; repeatable.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="COL", help="Leave a column out; repeatable.")] = None,
    checkpoint: Annotated[str | None, typer.Option(metavar="FILE", help="Keep the state here while training.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads.")] = 1,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Of everything random.")] = 0,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the model here, as JSON.")
    ] = None,
    proof: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a proof of the bound here, for provenn check.")
    ] = None,
    proof_limit: Annotated[int, typer.Option(metavar="MIB", min=1, help="Largest size of the proof.")] = 64,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress line.")] = False,
) -> None:
    """Train a network, print its certificate, and write the model.

    Progress goes to standard error. Ctrl-C keeps the best network so far.
    """
    # This function is long because every option is declared and named once, here.
    from provenn._cli_train import TrainRequest, run_train

    options = {
        "hidden_layer_sizes": sizes(hidden),
        "activation": one_of(activation, ("sign", "step"), "--activation"),
        "weights": kinds(weights),
        "weight_bound": bound(weight_bound, "--weight-bound", fractions="continuous" in weights),
        "bias_bound": None
        if bias_bound == "none"
        else bound(bias_bound, "--bias-bound", ("auto", "none"), fractions="continuous" in weights),
        "loss": one_of(loss, LOSSES, "--loss"),
        "temperature": number_or_auto(temperature, "--temperature"),
        "solver": one_of(solver, SOLVERS, "--solver"),
        "validation": share_or_folds(validation),
        "early_stopping": early_stopping,
        "time_limit": time_limit,
        "node_limit": node_limit,
        "memory_limit": memory_limit,
        "max_nonzeros": max_nonzeros,
        "fan_in": fan_in,
        "nonzero_price": price(number_or_auto(nonzero_price, "--nonzero-price"), "--nonzero-price"),
        "neuron_price": price(neuron_price, "--neuron-price"),
        "l1_price": price(l1_price, "--l1-price"),
        "l2_price": price(l2_price, "--l2-price"),
        "max_parts": parts,
        "batch_size": batch_size,
        "robust_radius": radius(robust_radius, "--robust-radius"),
        "robust_norm": one_of(robust_norm, ("inf", "1", "2"), "--robust-norm"),
        "robust_rule": one_of(robust_rule, ("auto", "pattern", "worst_case"), "--robust-rule"),
        "robust_price": None if robust_price is None else price(robust_price, "--robust-price"),
        "robust_exclude": "categorical" if robust_exclude == ["categorical"] else tuple(robust_exclude or ()),
        "quantize": one_of(quantize, ("grid", "thermometer"), "--quantize"),
        "grid_steps": grid_steps,
        "bits": bits,
        "categorical_features": tuple(categorical or ()),
        "checkpoint": checkpoint,
        "resume": resume,
        "n_jobs": threads,
        "random_state": seed,
    }
    request = TrainRequest(data, target, tuple(drop or ()), output, options, proof, proof_limit)
    run_train(request, as_json=as_json, quiet=quiet)


@app.command()
def predict(
    model: Model,
    data: Data,
    as_json: Json = False,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write CSV with scores here instead of printing labels."),
    ] = None,
) -> None:
    """Predict the labels of raw rows, one a line.

    The data may hold the target: it is not used, and the accuracy goes to standard error.
    """
    from provenn._cli_commands import run_predict

    run_predict(model, data, output, as_json=as_json)


@app.command()
def verify(
    model: Model,
    data: Data,
    at_radius: Annotated[
        float, typer.Option("--radius", metavar="R", help="Certify predictions against perturbations up to R.")
    ] = 0.0,
    norm: Annotated[str, typer.Option(metavar="NORM", help="Of perturbations: inf, 1 or 2.")] = "inf",
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="COL", help="Never perturbed; categorical for all categories.")
    ] = None,
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="For the perturbations.")] = 60.0,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="Threads.")] = 1,
    as_json: Json = False,
) -> None:
    """Recompute a certificate from the data.

    Loss, domains and data fingerprint are recomputed in exact integers from the training data.
    Exit code 0 when everything agrees and 1 when not. The bound is the claim of its prover.
    With --radius, in units of the scaled features (0..1 in training), each prediction is certified or a
    counterexample found, on any data.
    """
    from provenn._cli_verify import Around, run_verify

    left_out = "categorical" if exclude == ["categorical"] else tuple(exclude or ())
    norms = one_of(norm, ("inf", "1", "2"), "--norm")
    around = Around(radius(at_radius, "--radius"), norms, left_out, time_limit, threads)
    if not run_verify(model, data, around, as_json=as_json):
        raise typer.Exit(BAD_INPUT)


@app.command()
def check(
    proof: Annotated[str, typer.Argument(metavar="PROOF", help="Written by train --proof.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="The model file, or for a MIP an MPS file.", show_default=False),
    ] = None,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="The training data, for a model.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Check the proof of a bound, in exact arithmetic.

    Exit code 0 when the proof is accepted and 1 when not. The checker, provenn/check_proof.py, is a single
    file that needs nothing but Python: python check_proof.py PROOF MODEL DATA. The proof of a mixed-integer program
    holds the program; with an MPS file as MODEL it must also be the program of that file.
    """
    from provenn._cli_check import run_check

    if not run_check(proof, model, data, as_json=as_json):
        raise typer.Exit(BAD_INPUT)


@app.command()
def report(model: Model, as_json: Json = False) -> None:
    """Print what a model file says.

    Certificate, provenance and score card.
    """
    from provenn._cli_commands import run_report

    run_report(model, as_json=as_json)


@app.command()
def solvers(as_json: Json = False) -> None:
    """List solvers and what they can do.

    What is installed, its version, capabilities and limits.
    """
    from provenn._cli_commands import run_solvers

    run_solvers(as_json=as_json)


@app.command()
def bench(
    case: Annotated[
        str | None,
        typer.Argument(metavar="[CASE]", help="A case, or all; without it the cases are listed.", show_default=False),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the data: adult, heart, mnist, ...")
    ] = None,
    cases: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of the cases; bench by default.")] = None,
    methods: Annotated[str, typer.Option(metavar="NAME,NAME", help="Instead of those of the case.")] = "",
    tasks: Annotated[str, typer.Option(metavar="TEXT", help="Only tasks whose names contain this.")] = "",
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time limit of a run, instead of that of the case.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Seeds 0..N-1, instead of those of the case.")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="Threads of a run.")] = 1,
    output: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Write runs.jsonl, table.md and plots here.")
    ] = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line a run.")] = False,
) -> None:
    """Run benchmark cases: methods side by side, one process a run.

    Ctrl-C keeps the runs so far.
    """
    from provenn._cli_bench import run_bench

    run_bench(
        case,
        cases=cases,
        data=data,
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        tasks=tasks,
        seconds=seconds,
        seeds=seeds,
        threads=threads,
        output=output,
        as_json=as_json,
        quiet=quiet,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; no exception leaves it.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = get_command(app).main(arguments, prog_name="provenn", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else OK
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BAD_INPUT
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("PROVENN_DEBUG"):
            raise
        return _fail(*_explain(error), as_json="--json" in arguments)


def _explain(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of an exception."""
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        return "interrupted before there was an answer", BAD_INPUT
    if isinstance(error, ProvennError):
        without_answer = NO_ANSWER if isinstance(error, NoAnswerError | SolverError) else BAD_INPUT
        return " ".join(str(error).split()), INFEASIBLE if isinstance(error, InfeasibleError) else without_answer
    if isinstance(error, MemoryError):
        return "not enough memory; train on fewer samples or columns, or with a coarser encoding", BAD_INPUT
    usage: Any = getattr(error, "format_message", None)
    if usage is not None:
        return f"{usage()} (see provenn --help)", BAD_INPUT
    what = f"{type(error).__name__}: {error}".replace("\n", " ")
    return f"internal error: {what}; please report it (PROVENN_DEBUG=1 shows where)", BAD_INPUT


def _fail(message: str, code: int, *, as_json: bool) -> int:
    typer.echo(f"provenn: {message}", err=True)
    if as_json:
        typer.echo(json.dumps({"error": message, "exit_code": code}))
    return code


if __name__ == "__main__":
    sys.exit(main())
