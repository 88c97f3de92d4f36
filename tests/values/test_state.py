"""What the nouns say about themselves."""

from datetime import timedelta

import pytest

from orchestrator.values.catalog import Catalog, Problem
from orchestrator.values.fleet import Fleet
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelState
from orchestrator.values.state import ModelRecord
from tests.builders import NOW, catalog, model, policy, rejection, replica, spec


@pytest.mark.parametrize(
    ("retry_in_s", "blocks"),
    [
        pytest.param(None, True, id="never is never"),
        pytest.param(1, True, id="not yet"),
        pytest.param(0, False, id="due now"),
        pytest.param(-1, False, id="overdue"),
    ],
)
def test_a_rejection_blocks_until_its_retry(retry_in_s: float | None, *, blocks: bool) -> None:
    retry_at = None if retry_in_s is None else NOW + timedelta(seconds=retry_in_s)
    assert rejection(retry_at=retry_at).blocks(NOW) == blocks


def test_desired_is_what_the_file_says_where_it_wants_anything() -> None:
    assert ModelRecord(name="fast").desired is None
    assert ModelRecord(name="fast", document=model(spec(state=ModelState.ABSENT))).desired is None
    assert ModelRecord(name="fast", document=model(spec())).desired == spec()


def test_replicas_by_model_oldest_first() -> None:
    fleet = Fleet(
        replicas={
            "b1": replica(spec("b"), id="b1"),
            "a1": replica(spec("a"), id="a1"),
            "b2": replica(spec("b"), id="b2"),
        }
    )
    by_model = {name: [r.id for r in found] for name, found in fleet.by_model().items()}
    assert by_model == {"a": ["a1"], "b": ["b1", "b2"]}


def test_the_default_policy_is_the_one_that_says_so() -> None:
    assert catalog(spec()).default_policy is None
    policies = {"a": policy("a", default=False), "b": policy("b")}
    found = Catalog(policies=policies).default_policy
    assert found is not None
    assert found.name == "b"


def test_a_problem_names_its_place_or_the_file_as_a_whole() -> None:
    assert Problem(path="models.d/a.yaml", line=2, column=3, what="").where == "models.d/a.yaml:2:3"
    assert Problem(path="models.d/a.yaml", what="").where == "models.d/a.yaml"


def test_keys_are_not_in_what_settings_show() -> None:
    assert "hunter2" not in repr(Settings(api_keys=("hunter2",)))
