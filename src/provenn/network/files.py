"""Reading JSON with clear errors, writing files without destroying what was there."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from provenn.errors import InputError, ModelFileError


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; a damaged one raises `ModelFileError`, a missing one `InputError`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged or not JSON: {error}") from error


def write_text_safely(path: str | os.PathLike[str], text: str) -> None:
    """Write a file aside and rename it, so that a failure never destroys what was there."""
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        os.chmod(name, mode)
        os.replace(name, target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
