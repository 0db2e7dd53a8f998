from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.audio import make_sounds


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of real sounds, made once a session."""
    folder = tmp_path_factory.mktemp("sounds")
    make_sounds(folder)
    return folder
