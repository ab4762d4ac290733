"""Training on disk: what is known about a problem so far, written safely and read with suspicion."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provenn.errors import InputError, ModelFileError
from provenn.formulations import Problem
from provenn.network import IntegerNetwork
from provenn.network.files import read_json, write_text_safely
from provenn.trainers._base import Progress, Record

FORMAT = "provenn-checkpoint"
VERSION = 1
PARTS = {
    "dataset": "the data",
    "architecture": "the architecture or a weight domain",
    "loss": "the loss or its options",
    "constraints": "the side constraints",
}


@dataclass(frozen=True)
class Saved:
    """What a checkpoint says, checked.

    Parameters
    ----------
    network : IntegerNetwork or None
    loss : int or None
        Recomputed from the network.
    claims : dict
        The bound of every prover.
    seconds : float
        Time used by all runs so far.
    rounds : int
        Rounds of search done, which with the seed say how to go on.
    history : tuple of Progress
        Without networks but for the last.
    """

    network: IntegerNetwork | None
    loss: int | None
    claims: dict[str, int]
    seconds: float
    rounds: int
    history: tuple[Progress, ...] = field(default=(), repr=False)

    def enter(self, record: Record) -> None:
        """Let a fresh record begin with this."""
        record.network, record.loss = self.network, self.loss
        record.claims = dict(self.claims)
        record.bound = max(self.claims.values(), default=None)
        record.earlier = self.seconds
        record.history = list(self.history)


def problem_text(problem: Problem) -> dict[str, Any]:
    """Describe a problem so that two problems have the same description only when they are the same."""
    return {
        "dataset": problem.dataset.fingerprint(),
        "architecture": problem.architecture.to_dict(),
        "loss": repr(problem.loss),
        "constraints": [repr(constraint) for constraint in problem.constraints],
    }


@dataclass(frozen=True)
class Checkpoint:
    """A file that keeps the state of a training.

    Parameters
    ----------
    path : str or PathLike
    every : float
        Seconds between writes while nothing improves.

    Examples
    --------
    >>> import tempfile
    >>> from provenn.losses.max_correct import MaxCorrect
    >>> from provenn.network import Architecture, Dataset
    >>> data = Dataset.merge([[0], [1]], [0, 1])
    >>> problem = Problem(Architecture.build(1, 2), data, MaxCorrect())
    >>> record = Record(problem)
    >>> record.begin(None)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Checkpoint(folder + "/run.json")
    ...     file.write(record, rounds=3)
    ...     saved = file.read(problem)
    >>> saved.loss, saved.rounds
    (1, 3)
    """

    path: str | os.PathLike[str]
    every: float = 2.0

    def exists(self) -> bool:
        """Whether the file is there."""
        return Path(self.path).exists()

    def write(self, record: Record, rounds: int) -> None:
        """Replace the file by the present state.

        Raises
        ------
        InputError
            When the file cannot be written; what was there stays.
        """
        with record.lock:
            network, loss, claims = record.network, record.loss, dict(record.claims)
            seconds, history = record.seconds, list(record.history)
        data = {
            "format": FORMAT,
            "version": VERSION,
            "problem": problem_text(record.problem),
            "network": network.to_dict() if network is not None else None,
            "loss": loss,
            "claims": claims,
            "seconds": seconds,
            "rounds": rounds,
            "history": [[entry.seconds, entry.loss, entry.bound] for entry in history],
        }
        write_text_safely(self.path, json.dumps({**data, "checksum": _checksum(data)}) + "\n")

    def read(self, problem: Problem) -> Saved:
        """Read the state of a training of this problem.

        Raises
        ------
        InputError
            When the file is missing or belongs to another problem; the message says what differs.
        ModelFileError
            When it is damaged, was changed by hand, or is of a newer version.
        """
        data = read_json(self.path)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ModelFileError(f"{self.path} is not a checkpoint: the field 'format' must be {FORMAT!r}")
        if data.get("version") != VERSION:
            raise ModelFileError(
                f"{self.path} is a checkpoint of version {data.get('version')!r}, this release reads {VERSION}; "
                "resume with the release that wrote it"
            )
        if data.pop("checksum", None) != _checksum(data):
            raise ModelFileError(f"{self.path} is damaged: its checksum does not fit; start without it")
        self._check_problem(data, problem)
        try:
            return _saved(data, problem)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{self.path} is damaged: {error}; start without it") from error

    def belongs_to(self, problem: Problem) -> bool:
        """Whether the file is there and says that it is the checkpoint of this problem."""
        data = read_json(self.path) if self.exists() else None
        return isinstance(data, dict) and data.get("problem") == problem_text(problem)

    def _check_problem(self, data: dict[str, Any], problem: Problem) -> None:
        theirs, ours = data.get("problem"), problem_text(problem)
        theirs = theirs if isinstance(theirs, dict) else {}
        different = [words for key, words in PARTS.items() if theirs.get(key) != ours[key]]
        if different:
            raise InputError(
                f"{self.path} is the checkpoint of another problem: {' and '.join(different)} differ; "
                "train the same problem, or use another checkpoint file"
            )


def _checksum(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _saved(data: dict[str, Any], problem: Problem) -> Saved:
    """Check what the checksum cannot: that the network has the loss, and that the numbers make sense."""
    network = IntegerNetwork.from_dict(data["network"]) if data["network"] is not None else None
    loss = _whole(data["loss"])
    if network is None and loss is not None:
        raise ValueError("it has a loss without a network")
    if network is not None:
        if network.architecture != problem.architecture or network.scale != problem.dataset.scale:
            raise ValueError("its network does not fit the problem")
        if problem.value(network) != loss:
            raise ValueError(f"its network has the loss {problem.value(network)}, not {loss}")
    claims = {str(name): _number(bound) for name, bound in data["claims"].items()}
    if loss is not None and any(bound > loss for bound in claims.values()):
        raise ValueError("it has a bound above the loss of its network")
    seconds, rounds = float(data["seconds"]), _number(data["rounds"])
    if not (0 <= seconds < float("inf") and rounds >= 0):
        raise ValueError("its times do not make sense")
    entries = [Progress(float(at), _whole(value), _whole(bound), None) for at, value, bound in data["history"]]
    if entries and entries[-1].loss == loss:
        entries[-1] = Progress(entries[-1].seconds, loss, entries[-1].bound, network)
    return Saved(network, loss, claims, seconds, rounds, tuple(entries))


def _whole(value: Any) -> int | None:
    return None if value is None else _number(value)


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a whole number is missing where {value!r} stands")
    return value
