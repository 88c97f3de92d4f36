"""One fault is one problem."""

import os
from pathlib import Path

import pytest

from orchestrator.config.check import check
from tests.config.engines import ENGINES


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("engine:", "engine: nothing is not a text"),
        ("engine: 3", "engine: 3 is not a text"),
        ("engine: llama", "engine: 'llama' is not known"),
        ("state: [active]", "state: a list is not a text"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_once(tmp_path: Path, line: str, what: str) -> None:
    fields = {"engine": "engine: llama-cpp", "source": "source: demo:tiny"} | {
        line.split(":", maxsplit=1)[0]: line
    }
    (tmp_path / "models.d").mkdir()
    (tmp_path / "models.d" / "a.yaml").write_text("\n".join(fields.values()) + "\n")
    assert [problem.what for problem in check(tmp_path, os.environ, ENGINES).problems] == [what]
