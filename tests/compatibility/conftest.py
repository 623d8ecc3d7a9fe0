"""What version 0.1 left behind: see README.md in this folder."""

import json
import tarfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.fixture(scope="session")
def old(tmp_path_factory) -> Path:
    """The folder in which version 0.1 worked, unpacked. Tests that write into a part of it copy that part first."""
    root = tmp_path_factory.mktemp("version-0.1")
    with tarfile.open(FOLDER / "version-0.1.tar.xz") as archive:
        archive.extractall(root, filter="data")
    return root


@pytest.fixture(scope="session")
def facts() -> dict:
    """What is expected of those files: version-0.1.json."""
    return json.loads((FOLDER / "version-0.1.json").read_text())
