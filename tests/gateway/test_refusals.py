"""What a client is told while a model is not ready, and when to try again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.gateway.models import status
from orchestrator.gateway.refusals import not_ready, queue_full, retry_after_s
from orchestrator.values.routing import Route
from tests.gateway.fakes import route

NOW = datetime(2026, 11, 20, tzinfo=UTC)
LATER = NOW + timedelta(seconds=40)
LOADING = route("big", progress="loading", load_s=3.2)
UNLOADED = route("big", unready="it is loaded when a request asks for it", on_demand=True, load_s=0.2)

RETRIES = [
    ("nothing is known: a guess", route("big"), 5),
    ("a load that was measured, rounded up", LOADING, 4),
    ("never less than a second", UNLOADED, 1),
    ("a try that is held back", route("big", retry_at=LATER), 40),
    ("and the load after it", route("big", retry_at=LATER, load_s=3.2), 44),
    ("one that is due", route("big", retry_at=NOW - timedelta(seconds=9), load_s=3.2), 4),
    ("a download may take anything", route("big", progress="fetching", load_s=1.0), 5),
    ("and then a long load", route("big", progress="fetching", load_s=30.0), 30),
]


@pytest.mark.parametrize(("sentence", "what", "wanted"), RETRIES, ids=[case[0] for case in RETRIES])
def test_retry_after(sentence: str, what: Route, wanted: int) -> None:
    assert retry_after_s(what, NOW) == wanted, sentence
    assert not_ready(what, NOW, 30).retry_after_s == wanted
    assert queue_full(what, NOW, 128).retry_after_s == wanted


def test_a_person_reads_how_long_it_takes_and_how_many_wait() -> None:
    error = queue_full(LOADING, NOW, 128)
    assert (error.status, error.code) == (503, "queue_full")
    assert error.what == (
        "model 'big' is not ready: it is loading (expected 4 s more); 128 requests wait already"
    )
    assert "`wait_queue:`" in error.fix


def test_what_is_expected_is_told_only_of_a_load() -> None:
    assert not_ready(UNLOADED, NOW, 0.5).what == (
        "model 'big' is not ready after 0.5 s: it is loaded when a request asks for it (expected 1 s more)"
    )
    for other in (
        replace(LOADING, progress="fetching"),
        replace(LOADING, retry_at=LATER),
        replace(LOADING, progress=""),
        replace(LOADING, load_s=None),
    ):
        assert not_ready(other, NOW, 30).what == "model 'big' is not ready after 30 s: it is loading"


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        (route("big", "/s"), "ready"),
        (route("big", stalled=True, progress=""), "failed"),
        (route("big", retry_at=LATER, on_demand=True), "retrying"),
        (route("big", retry_at=NOW, on_demand=True), "unloaded"),
        (route("big", progress="loading", on_demand=True), "loading"),
        (route("big", progress="fetching"), "fetching"),
        (UNLOADED, "unloaded"),
        (route("big"), "pending"),
    ],
)
def test_status(what: Route, wanted: str) -> None:
    assert status(what, NOW) == wanted
