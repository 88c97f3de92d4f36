"""Identity of what is loaded: the revision and the launch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.values.spec import REVISION_DIGITS, ModelState, Sampling, Source, digest
from tests.builders import source, spec

BASE = spec()
OTHER_SOURCES = [
    source("small"),
    source("tiny", scheme="file"),
    source("tiny", sha256="ab"),
]


@pytest.mark.parametrize("other", OTHER_SOURCES)
def test_every_part_of_the_resolved_source_makes_another_revision(other: Source) -> None:
    assert spec(source=other).revision != BASE.revision


def test_the_revision_is_that_of_what_is_loaded_and_of_nothing_else() -> None:
    assert spec(engine="mlx").revision != BASE.revision
    assert spec(context=99).revision != BASE.revision
    for same in (
        spec("another name"),
        spec(state=ModelState.TESTING),
        spec(parallel=9),
        spec(capabilities=()),
        spec(sampling=Sampling(seed=1)),
        spec(source=Source(written="${env:X}", scheme="demo", location="tiny")),
    ):
        assert same.revision == BASE.revision


def test_a_launch_is_a_revision_and_how_many_it_answers_at_once() -> None:
    assert spec(parallel=9).launch != BASE.launch
    assert spec(context=99).launch != BASE.launch
    assert spec("another name", state=ModelState.TESTING, sampling=Sampling(seed=1)).launch == BASE.launch
    assert BASE.launch != BASE.revision


def test_a_revision_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert (BASE.revision, BASE.launch) == ("c824a0736ce8", "112d99625c24")


def test_only_absent_is_unwanted() -> None:
    assert [state for state in ModelState if not spec(state=state).wanted] == [ModelState.ABSENT]


def test_a_location_is_never_shown() -> None:
    assert "hunter2" not in repr(
        spec(source=Source(written="file:${env:P}", scheme="file", location="hunter2"))
    )


def test_only_sampling_values_that_are_set_go_into_a_request() -> None:
    assert Sampling().as_request_fields() == {}
    assert Sampling(temperature=0.0, seed=0).as_request_fields() == {"temperature": 0.0, "seed": 0}
    full = Sampling(temperature=1, top_p=2, top_k=3, min_p=4, repeat_penalty=5, max_tokens=6, seed=7)
    assert full.as_request_fields() == {
        "temperature": 1,
        "top_p": 2,
        "top_k": 3,
        "min_p": 4,
        "repeat_penalty": 5,
        "max_tokens": 6,
        "seed": 7,
    }


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers(), max_size=5))
def test_a_digest_knows_no_order(content: dict[str, object]) -> None:
    backwards = dict(reversed(content.items()))
    assert digest(content) == digest(backwards)
    assert len(digest(content)) == REVISION_DIGITS
    assert digest(content) != digest({**content, "and": "more"} if "and" not in content else {})
