"""Words that are stored, shown or written in files: changing one breaks somebody's data."""

from enum import StrEnum

import pytest

from orchestrator.values.catalog import Kind, Problem
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.fact import Severity
from orchestrator.values.fleet import Phase
from orchestrator.values.spec import ModelState
from orchestrator.values.state import State
from tests.builders import running, spec


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ModelState, "active testing deprecated absent"),
        (Kind, "model policy"),
        (Phase, "starting ready draining stopping gone"),
        (ConditionType, "Accepted Fetched Fits Ready Progressing Degraded Drifted Stalled"),
        (Truth, "True False Unknown"),
        (Severity, "normal warning"),
    ],
)
def test_words(kind: type[StrEnum], words: str) -> None:
    assert list(kind) == words.split()


def test_what_is_counted_begins_at_nothing() -> None:
    problem = Problem(path="models.d/a.yaml", what="no")
    assert (State().boot, State().started, running().memory_bytes) == (0, 0, 0)
    assert (problem.line, problem.column) == (0, 0)


def test_defaults_of_a_model_file() -> None:
    plain = spec()
    assert (plain.state, plain.context, plain.parallel) == (ModelState.ACTIVE, 4096, 4)
    assert plain.capabilities == ("chat", "completion")
    assert plain.sampling.as_request_fields() == {}
