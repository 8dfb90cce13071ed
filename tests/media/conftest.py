"""What the tests of the engine share: real camera files, where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real camera files; tests that need it are skipped where it is absent."""
    beside_the_checkout = Path(__file__).parents[3] / "shared" / "corpus"
    folder = Path(os.environ.get("MEDIAPIPE_CORPUS", beside_the_checkout))
    if not folder.is_dir():
        pytest.skip("no corpus of real files here; MEDIAPIPE_CORPUS names its folder")
    return folder
