"""The one sentence about a model."""

from orchestrator.cli.note import note
from tests.cli import payloads


def test_a_model_that_was_given_up_tells_both_ways_out() -> None:
    given_up = payloads.rejected()
    given_up["serving"] = None
    given_up["rejected"][0]["retry_at"] = None
    text = note(given_up, [], payloads.NOW).text
    assert text.endswith("is not a GGUF file; edit its file, or: orchestrator reload")


def test_a_model_that_loads_or_rests_tells_how_many_wait_for_it() -> None:
    loading = payloads.swapping()
    loading["waiting"] = 6
    assert note(loading, [], payloads.NOW).text.endswith("; 6 requests wait")
    loading["waiting"] = 1
    assert note(loading, [], payloads.NOW).text.endswith("; 1 request waits")
