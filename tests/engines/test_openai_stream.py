"""An upstream's stream comes through whole and under our name, wherever the network cuts it."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engines.openai.rename import Renaming
from orchestrator.engines.openai.stream import MOST_EVENT_BYTES, Malformed, Stream

TEXTS = [
    "Hi",
    '"model":"theirs"',
    'a,"model":"theirs"}',
    "data: [DONE]",
    "line\n\nbreak",
    "\r\n",
    "é🙂\u2028",
    "",
]


def chunk(text: str, **more: object) -> bytes:
    delta = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    content = {"id": "c-1", "model": "theirs", "choices": delta} | more
    return json.dumps(content, ensure_ascii=False).encode()


def ours(payload: bytes) -> bytes:
    return payload.replace(b'"model": "theirs"', b'"model": "ours"', 1)


def relayed(pieces: Sequence[bytes], *, choices: int = 1) -> tuple[bytes, Stream]:
    stream = Stream(Renaming("ours"), choices=choices)
    passed = b"".join([stream.feed(piece) for piece in pieces])
    return passed + stream.end(), stream


@given(
    texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    noise=st.sampled_from([b"", b": keep-alive", b"event: message", b"id: 7\nretry: 3"]),
    closed=st.booleans(),
    data=st.data(),
)
def test_any_cutting_gives_the_same_whole_events(
    *, texts: list[str], line_end: bytes, noise: bytes, closed: bool, data: st.DataObject
) -> None:
    events = [b"data: " + chunk(text) for text in texts]
    if noise:
        events = [noise + b"\n" + event for event in events] + [noise]
    sent = b"\n\n".join([*events, b"data: [DONE]"]) + (b"\n\n" if closed else b"")
    sent = sent.replace(b"\n", line_end)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    passed, stream = relayed([piece for piece in pieces if piece])
    assert stream.done
    assert passed == b"".join(b"data: %b\n\n" % ours(chunk(text)) for text in texts) + b"data: [DONE]\n\n"


def test_whole_events_go_on_before_the_rest_has_come() -> None:
    stream = Stream(Renaming("ours"))
    assert stream.feed(b'data: {"a":1}\n\ndata: {"b"') == b'data: {"a":1}\n\n'
    assert stream.feed(b":2}\n") == b""
    assert stream.feed(b"\n") == b'data: {"b":2}\n\n'


def test_data_over_several_lines_becomes_one() -> None:
    passed, _ = relayed([b'data: {"model":"x",\ndata: "a":1}\n\n'])
    assert passed == b'data: {"model":"ours", "a":1}\n\n'


def test_nothing_comes_after_the_end() -> None:
    passed, stream = relayed([b'data: [DONE]\n\ndata: {"a":1}\n\n'])
    assert stream.done
    assert passed == b"data: [DONE]\n\n"


def test_a_stream_without_its_end_is_not_done() -> None:
    passed, stream = relayed([b'data: {"a":1}\n\n'])
    assert not stream.done
    assert passed == b'data: {"a":1}\n\n'


@pytest.mark.parametrize(
    ("choices", "reasons", "whole"),
    [
        (1, ['"stop"'], True),
        (1, [' "length"'], True),
        (2, ['"stop"', '"stop"'], True),
        (2, ['"stop"', "null"], False),
        (1, ["null"], False),
        (1, ['""'], False),
        (1, ['null,"delta":{"content":"\\"finish_reason\\":\\"stop\\""}'], False),
    ],
)
def test_a_stream_is_whole_without_its_mark_where_each_choice_has_ended(
    choices: int, reasons: list[str], *, whole: bool
) -> None:
    events = [f'data: {{"choices":[{{"finish_reason":{reason}}}]}}\n\n'.encode() for reason in reasons]
    passed, stream = relayed(events, choices=choices)
    assert stream.done == whole
    assert passed == b"".join(events) + (b"data: [DONE]\n\n" if whole else b"")


@pytest.mark.parametrize(
    ("event", "status", "message"),
    [
        (b'data: {"error":{"message":"overheated","code":503}}', 503, "overheated"),
        (b'event: error\ndata: {"error":"it broke"}', 502, "it broke"),
        (b'data: {"error":{"message":"no","code":"server_error"}}', 502, "no"),
    ],
)
def test_an_error_ends_the_stream_after_what_came_before(event: bytes, status: int, message: str) -> None:
    passed, stream = relayed([b'data: {"a":1}\n\n' + event + b"\n\ndata: [DONE]\n\n"])
    assert passed == b'data: {"a":1}\n\n'
    assert not stream.done
    assert stream.error is not None
    assert (stream.error.status, stream.error.message) == (status, message)


def test_an_error_that_is_none_is_no_error() -> None:
    passed, stream = relayed([b'data: {"error":null,"choices":[]}\n\ndata: [DONE]\n\n'])
    assert stream.error is None
    assert passed.startswith(b'data: {"error":null')


@pytest.mark.parametrize(
    "sent", [b"data: hello\n\n", b"data: [1]\n\n", b"data: " + b"x" * (MOST_EVENT_BYTES + 1)]
)
def test_what_is_no_event_is_malformed(sent: bytes) -> None:
    with pytest.raises(Malformed):
        Stream(Renaming("ours")).feed(sent)
