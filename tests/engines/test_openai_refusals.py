"""Whatever shape an upstream's error has, the client reads OpenAI's, and whose fault it is."""

import json
from datetime import timedelta
from email.utils import format_datetime

import pytest

from orchestrator import clock
from orchestrator.engines.openai.refusals import MOST_MESSAGE, as_refusal, read

PLACE = "box:8000"


@pytest.mark.parametrize(
    ("body", "message", "code", "param"),
    [
        ({"error": {"message": "long", "type": "t", "param": "input", "code": "c"}}, "long", "c", "input"),
        ({"error": {"message": "bad", "type": "invalid", "code": None}}, "bad", "invalid", ""),
        ({"error": "a text"}, "a text", "", ""),
        (
            {"object": "error", "message": "vLLM's", "type": "BadRequest", "code": 400},
            "vLLM's",
            "BadRequest",
            "",
        ),
        ({"detail": "FastAPI's"}, "FastAPI's", "", ""),
        ({"detail": [{"loc": ["body", "top_k"], "msg": "Extra"}]}, "body.top_k: Extra", "", ""),
        ([{"error": {"message": "Gemini's", "code": 400, "status": "INVALID"}}], "Gemini's", "", ""),
        ({"error": {"msg": 3}}, "", "", ""),
        ({}, "", "", ""),
        ([], "", "", ""),
        (None, "", "", ""),
        (7, "", "", ""),
    ],
)
def test_errors_of_any_shape_are_read(body: object, message: str, code: str, param: str) -> None:
    said = read(400, json.dumps(body).encode())
    assert (said.message, said.code, said.param) == (message, code, param)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", ""),
        (b"<html><body>Bad Gateway</body></html>", ""),
        (b"upstream connect error\n\n or reset ", "upstream connect error or reset"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_what_is_no_json_is_read_too(body: bytes, message: str) -> None:
    assert read(500, body).message == message


@pytest.mark.parametrize("body", [b"[" * 100_000, json.dumps({"error": "[" * 10_000}).encode()])
def test_it_is_cut_only_when_it_is_shown(body: bytes) -> None:
    """What must not be shown is taken out in between: half of a secret would not be found any more."""
    said = read(400, body)
    assert len(said.message) >= 10_000
    assert as_refusal(said, "box:1").what == "[" * MOST_MESSAGE + "…"


@pytest.mark.parametrize(
    ("theirs", "ours", "code"),
    [
        (400, 400, "upstream_refused"),
        (413, 413, "upstream_refused"),
        (422, 422, "upstream_refused"),
        (401, 502, "upstream_auth"),
        (403, 502, "upstream_auth"),
        (402, 502, "upstream_unpaid"),
        (404, 502, "upstream_not_found"),
        (405, 502, "upstream_not_found"),
        (418, 502, "upstream_error"),
        (307, 502, "upstream_redirect"),
        (429, 429, "rate_limit_exceeded"),
        (408, 504, "upstream_timeout"),
        (500, 502, "upstream_error"),
        (502, 502, "upstream_error"),
        (503, 503, "upstream_overloaded"),
        (504, 504, "upstream_timeout"),
        (520, 502, "upstream_error"),
        (529, 503, "upstream_overloaded"),
        (999, 502, "upstream_error"),
    ],
)
def test_a_status_says_whose_business_it_is(theirs: int, ours: int, code: str) -> None:
    error = as_refusal(read(theirs, b""), PLACE)
    assert (error.status, error.code) == (ours, code)
    assert error.what


def test_a_refused_key_is_not_the_client_s_and_is_not_repeated() -> None:
    body = json.dumps({"error": {"message": "Incorrect API key provided: sk-123", "code": "invalid_api_key"}})
    error = as_refusal(read(401, body.encode()), PLACE)
    assert "sk-123" not in str(error)
    assert "api_key" in error.fix
    assert error.code == "upstream_auth"


def test_the_client_s_own_mistake_reaches_it_with_its_field() -> None:
    body = {
        "error": {"message": "bad role", "type": "invalid_request_error", "param": "messages", "code": "x"}
    }
    error = as_refusal(read(400, json.dumps(body).encode()), PLACE)
    assert (error.what, error.status, error.code, error.param) == ("bad role", 400, "x", "messages")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("7", 7), ("x", None), ("-1", None), ("9" * 30, 86_400), ("1.5", None)],
)
def test_retry_after_is_kept_within_reason(header: str, seconds: int | None) -> None:
    assert as_refusal(read(429, b""), PLACE, header).retry_after_s == seconds


def test_retry_after_may_be_a_date() -> None:
    at = format_datetime(clock.now() + timedelta(seconds=30), usegmt=True)
    seconds = as_refusal(read(429, b""), PLACE, at).retry_after_s
    assert seconds is not None
    assert 25 <= seconds <= 30


def test_a_date_without_a_zone_is_not_guessed() -> None:
    assert as_refusal(read(429, b""), PLACE, "Fri, 20 Nov 2026 10:00:00 -0000").retry_after_s is None
