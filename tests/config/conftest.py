"""The folder that most tests start from."""

from pathlib import Path

import pytest

from tests.config.files import ONE, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, fast=ONE)
