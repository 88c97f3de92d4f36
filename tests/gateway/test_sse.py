import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.sse import Tap, code_of, event, trailing_object

COUNTS = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TIMINGS = {"queue_ms": 0.5, "predicted_per_second": 90.0}


def token(text: str) -> bytes:
    chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": text}}]}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


USAGE = event({"id": "x", "choices": [], "usage": COUNTS, "timings": TIMINGS})
DONE = b"data: [DONE]\n\n"
# Text that looks like what the tap looks for, in every disguise an answer may bring it.
TEXTS = st.one_of(
    st.text(),
    st.sampled_from(
        ['"usage":{"a":1}', "[DONE]", 'data: {"error":1}', '"error"', "\n\n", "\r\n\r\n", "é", "語", "🙂"]
    ),
)


def pour(tap: Tap, pieces: list[bytes]) -> bytes:
    return b"".join(tap.feed(piece) for piece in pieces) + tap.rest()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


CUTS = st.lists(st.integers(min_value=0, max_value=100_000), max_size=30)


@given(st.lists(TEXTS), CUTS)
def test_only_the_usage_event_is_dropped_wherever_the_pieces_are_cut(
    texts: list[str], cuts: list[int]
) -> None:
    tokens = b"".join(token(text) for text in texts)
    tap = Tap(keep_usage=False)
    assert pour(tap, split(tokens + USAGE + DONE, cuts)) == tokens + DONE
    assert tap.done
    assert (tap.usage, tap.timings, tap.error) == (COUNTS, TIMINGS, "")


@given(st.lists(TEXTS), CUTS)
def test_with_usage_asked_for_every_byte_passes(texts: list[str], cuts: list[int]) -> None:
    stream = b"".join(token(text) for text in texts) + USAGE + DONE
    tap = Tap(keep_usage=True)
    assert pour(tap, split(stream, cuts)) == stream
    assert tap.usage == COUNTS


def test_the_usage_event_is_dropped_for_a_cut_at_each_of_its_bytes() -> None:
    stream = token("é") + USAGE + DONE
    for cut in range(len(stream) + 1):
        tap = Tap(keep_usage=False)
        assert pour(tap, [stream[:cut], stream[cut:]]) == token("é") + DONE
        assert tap.usage == COUNTS


@given(st.binary(), CUTS)
def test_bytes_that_are_no_events_at_all_pass_too(data: bytes, cuts: list[int]) -> None:
    assert pour(Tap(keep_usage=True), split(data, cuts)) == data


@given(st.lists(TEXTS, min_size=1), CUTS)
def test_at_every_moment_the_client_has_whole_events_only(texts: list[str], cuts: list[int]) -> None:
    stream = b"".join(token(text) for text in texts)
    tap = Tap(keep_usage=False)
    given_so_far = b""
    for piece in split(stream, cuts):
        given_so_far += tap.feed(piece)
        assert given_so_far == b"" or given_so_far.endswith(b"\n\n")


def test_an_event_goes_on_as_soon_as_its_last_byte_is_there() -> None:
    tap = Tap(keep_usage=False)
    assert tap.feed(token("a")[:-1]) == b""
    assert tap.feed(b"\n") == token("a")
    assert tap.feed(token("b") + token("c")[:9]) == token("b")


@pytest.mark.parametrize(
    "usage",
    [
        b'data: {"choices":[],"usage" : {"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\r\n\r\n',
        (
            b'event: x\ndata: {"choices":[],\ndata: "usage":'
            b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
        ),
    ],
    ids=["crlf", "two data lines"],
)
def test_other_spellings_of_an_event_are_understood(usage: bytes) -> None:
    tap = Tap(keep_usage=False)
    assert tap.feed(token("a") + usage + DONE) == token("a") + DONE
    assert tap.usage == COUNTS


def test_counts_on_an_event_with_text_are_read_and_the_event_passes() -> None:
    mixed = event({"choices": [{"delta": {"content": "a"}}], "usage": COUNTS})
    tap = Tap(keep_usage=False)
    assert tap.feed(mixed) == mixed
    assert tap.usage == COUNTS


def test_nothing_passes_after_the_end_mark() -> None:
    tap = Tap(keep_usage=True)
    assert pour(tap, [token("a") + DONE + token("b") + b"data: c"]) == token("a") + DONE


def test_null_usage_is_no_usage() -> None:
    chunk = event({"choices": [], "usage": None})
    tap = Tap(keep_usage=False)
    assert tap.feed(chunk) == chunk
    assert tap.usage == {}


def test_an_error_event_passes_and_its_code_is_kept() -> None:
    error = event({"error": {"message": "no", "type": "server_error", "param": None, "code": "context_full"}})
    tap = Tap(keep_usage=False)
    assert tap.feed(token("a") + error) == token("a") + error
    assert (tap.error, tap.done) == ("context_full", False)


@pytest.mark.parametrize("payload", [b'{"usage":{', b'["usage",{"usage":{}}]', b'"error"', b'{"error":'])
def test_what_is_not_an_object_in_json_passes_unread(payload: bytes) -> None:
    data = b"data: " + payload + b"\n\n"
    tap = Tap(keep_usage=False)
    assert tap.feed(data) == data
    assert (tap.usage, tap.error) == ({}, "")


@given(st.text())
def test_the_counts_at_the_end_of_an_answer_are_found_whatever_its_text_says(text: str) -> None:
    answer = json.dumps(
        {"choices": [{"message": {"content": text + '"usage": {"prompt_tokens": 9}'}}], "usage": COUNTS}
    )
    assert trailing_object(answer.encode(), "usage") == COUNTS


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"usage":null}', b'{"usage":{', b'{"usage":3}'])
def test_an_answer_without_counts_has_none(answer: bytes) -> None:
    assert trailing_object(answer, "usage") == {}


def test_an_error_without_a_code_is_called_by_its_type() -> None:
    assert code_of({"type": "server_error", "code": None}) == "server_error"
    assert code_of("broken") == "upstream_error"
