"""A field is left out only where the upstream refuses it by name and nobody but the file asked for it."""

import pytest

from orchestrator.engines.openai.quirks import Quirks
from orchestrator.engines.openai.refusals import Said

DEFAULTS = {"temperature": 0.7, "top_k": 40, "repeat_penalty": 1.1, "max_tokens": 2048}
USAGE = {"include_usage": True}


def said(message: str, *, status: int = 400, param: str = "", code: str = "") -> Said:
    return Said(status=status, message=message, param=param, code=code)


@pytest.mark.parametrize(
    ("refusal", "left_out"),
    [
        (said("Unrecognized request argument supplied: top_k"), {"top_k"}),
        (said("Unrecognized request arguments supplied: repeat_penalty, top_k"), {"top_k", "repeat_penalty"}),
        (said("Unknown parameter: 'top_k'.", param="top_k", code="unknown_parameter"), {"top_k"}),
        (said("body.top_k: Extra inputs are not permitted", status=422), {"top_k"}),
        (
            said("'temperature' does not support 0.7 with this model.", code="unsupported_value"),
            {"temperature"},
        ),
        (said("stream_options: extra fields not permitted"), {"stream_options"}),
        (said("max_tokens is too large: 2048. This model supports at most 1024"), set()),
        (said("top_k must be at most 20"), set()),
        (said("Unknown parameter: 'seed'"), set()),
        (said("Unknown parameter: 'top_k_extra'"), set()),
        (said("Unknown parameter: 'top_k'", status=500), set()),
    ],
)
def test_what_is_refused_by_name_is_left_out(refusal: Said, left_out: set[str]) -> None:
    fields = {"model": "x", "messages": [], "stream_options": USAGE, **DEFAULTS}
    quirks = Quirks(DEFAULTS)
    assert quirks.applied(fields) == fields
    assert quirks.learn(refusal, fields) == bool(left_out)
    assert set(fields) - set(quirks.applied(fields)) == left_out
    assert not quirks.learn(refusal, quirks.applied(fields))


def test_a_client_s_own_value_is_sent_whatever_was_learnt() -> None:
    quirks = Quirks(DEFAULTS)
    refusal = said("Unknown parameter: 'top_k'")
    assert quirks.learn(refusal, {"top_k": 40})
    assert quirks.applied({"top_k": 5}) == {"top_k": 5}
    assert not quirks.learn(refusal, {"top_k": 5})
    assert not Quirks(DEFAULTS).learn(refusal, {"top_k": 5})


def test_what_the_client_wants_of_its_stream_is_kept() -> None:
    quirks = Quirks(DEFAULTS)
    wanted = {"stream_options": USAGE | {"include_obfuscation": False}}
    assert not quirks.learn(said("Unknown parameter: 'stream_options'"), wanted)
    assert quirks.applied(wanted) == wanted


def test_max_tokens_gets_its_newer_name_whoever_wrote_it() -> None:
    quirks = Quirks(DEFAULTS)
    refusal = said(
        "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    )
    assert quirks.learn(refusal, {"max_tokens": 7})
    assert quirks.applied({"max_tokens": 7}) == {"max_completion_tokens": 7}
    assert quirks.applied({"max_tokens": 7, "max_completion_tokens": 5}) == {"max_completion_tokens": 5}
    assert quirks.applied({"temperature": 1}) == {"temperature": 1}
    assert not quirks.learn(refusal, {"max_tokens": 7})
