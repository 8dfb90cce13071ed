from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pixel_folder import SharedFolder, shared_folder
from tests.syncthing_daemons import Pair, pair
from tests.syncthing_programs import RELEASES, program


@pytest.fixture(scope="module", params=sorted(RELEASES))
def two_daemons(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    found = program(request.param)
    if found is None:
        pytest.skip(f"Syncthing {request.param} cannot be had here")
    with pair(found, tmp_path_factory.mktemp("syncthing")) as both:
        both.wait_connected()
        yield both


@pytest.fixture
def shared(two_daemons: Pair, tmp_path: Path) -> Iterator[SharedFolder]:
    two_daemons.wait_connected()
    with shared_folder(two_daemons, tmp_path) as one:
        yield one


@pytest.fixture
def unaccepted(two_daemons: Pair, tmp_path: Path) -> Iterator[SharedFolder]:
    with shared_folder(two_daemons, tmp_path, accepted=False) as one:
        yield one
