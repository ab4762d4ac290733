from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("provenn", deadline=None, max_examples=60)
settings.load_profile("provenn")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with research data and instances beside the project, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "instances" / "index.json").exists():
        pytest.skip("the folder with published instances is not beside the project")
    return folder
