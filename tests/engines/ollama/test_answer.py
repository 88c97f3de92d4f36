"""Answers that a real server gave, in OpenAI's form."""

import json
from typing import Any

import pytest

from orchestrator.engines.ollama.answer import Form, Listener
from orchestrator.errors import RequestError
from tests.engines.ollama.replay import record
from tests.engines.ollama.rigs import events_of


def heard(name: str) -> Listener:
    listener = Listener("http://a:1")
    for line in record(name)["body"].splitlines():
        listener.line(line.encode())
    return listener


def whole(name: str, *, legacy: bool = False) -> dict[str, Any]:
    listener = heard(name)
    listener.check_complete()
    found: dict[str, Any] = json.loads(Form("fast", legacy=legacy).whole(listener, queue_ms=2.0))
    return found


def streamed(name: str, *, legacy: bool = False, usage: bool = True) -> list[Any]:
    listener, form = Listener("http://a:1"), Form("fast", legacy=legacy)
    said = form.opening()
    for line in record(name)["body"].splitlines():
        said += form.piece(listener.line(line.encode()))
    listener.check_complete()
    return events_of(said + form.closing(listener, queue_ms=2.0, usage=usage))


def test_a_chat_in_one_piece() -> None:
    answer = whole("chat_stream")
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "fast"
    choice = answer["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == '{"name": "Jo", "age": 61, "city": "Rome"}'
    assert choice["finish_reason"] == "stop"
    end = json.loads(record("chat_stream")["body"].splitlines()[-1])
    assert answer["usage"] == {
        "prompt_tokens": end["prompt_eval_count"],
        "completion_tokens": end["eval_count"],
        "total_tokens": end["prompt_eval_count"] + end["eval_count"],
    }
    timings = answer["timings"]
    assert timings["queue_ms"] == round(2.0 + end["load_duration"] / 1e6, 3)
    assert timings["predicted_per_second"] == round(end["eval_count"] * 1e9 / end["eval_duration"], 2)
    assert list(answer)[-1] == "timings"  # the gateway looks for them at the end


def test_a_chat_in_pieces_says_the_same() -> None:
    *chunks, counts, done = streamed("chat_stream")
    assert done == "[DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole("chat_stream")["choices"][0]["message"]["content"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == [None, "stop"]
    assert counts["choices"] == []
    assert counts["usage"] == whole("chat_stream")["usage"]
    assert {chunk["id"] for chunk in chunks} == {counts["id"]}
    assert streamed("chat_stream", usage=False)[-2]["choices"][0]["finish_reason"] == "stop"


def test_an_answer_that_was_cut_by_its_limit_says_so() -> None:
    assert whole("chat_num_predict")["choices"][0]["finish_reason"] == "length"


def test_a_tool_call_has_its_arguments_as_text() -> None:
    answer = whole("chat_tools_call")["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["content"] is None
    (call,) = answer["message"]["tool_calls"]
    assert call["id"].startswith("call_")
    assert call["type"] == "function"
    assert call["function"] == {"name": "add", "arguments": '{"a":7}'}
    chunks = streamed("chat_tools_call")
    (delta,) = [c["choices"][0]["delta"] for c in chunks[:-2] if "tool_calls" in c["choices"][0]["delta"]]
    assert delta["tool_calls"][0] == {"index": 0, **call}


def test_several_tool_calls_are_numbered_through() -> None:
    form, listener = Form("fast", legacy=False), Listener("http://a:1")
    call = {"function": {"name": "f", "arguments": {}}}
    numbers = []
    for calls in ([call], [call, call]):
        line = json.dumps({"message": {"content": "", "tool_calls": calls}, "done": False}).encode()
        (event,) = events_of(form.piece(listener.line(line)))
        numbers += [each["index"] for each in event["choices"][0]["delta"]["tool_calls"]]
    assert numbers == [0, 1, 2]
    assert len({each["id"] for each in listener.heard.calls}) == 3


def test_thinking_is_told_from_the_answer() -> None:
    form, listener = Form("fast", legacy=False), Listener("http://a:1")
    line = json.dumps({"message": {"content": "", "thinking": "hm"}, "done": False}).encode()
    (event,) = events_of(form.piece(listener.line(line)))
    assert event["choices"][0]["delta"] == {"reasoning_content": "hm"}
    listener.line(b'{"message":{"content":"4"},"done":true,"done_reason":"stop"}')
    message = json.loads(form.whole(listener, queue_ms=0))["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "4")


def test_logprobs_of_a_chat_and_of_a_completion() -> None:
    content = whole("chat_logprobs")["choices"][0]["logprobs"]["content"]
    assert [each["token"] for each in content] == ["1", "6"]
    assert [each["token"] for each in content[0]["top_logprobs"]] == ["1", "2"]
    legacy = whole("chat_logprobs", legacy=True)["choices"][0]["logprobs"]
    assert legacy["tokens"] == ["1", "6"]
    assert legacy["text_offset"] == [0, 1]
    assert legacy["top_logprobs"][0]["1"] == legacy["token_logprobs"][0]


def test_a_completion() -> None:
    answer = whole("generate_stream", legacy=True)
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["text"]
    *chunks, _counts, done = streamed("generate_stream", legacy=True)
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == answer["choices"][0]["text"]


def test_counts_that_are_absent_are_nothing() -> None:
    listener = Listener("http://a:1")
    listener.line(b'{"message":{"content":""},"done":true,"done_reason":"stop"}')
    counts = listener.usage(queue_ms=0)
    assert set(counts["usage"].values()) == {0}
    assert set(counts["timings"].values()) == {0.0}


@pytest.mark.parametrize("name", ["repeat_abort_stream", "repeat_abort_whole"])
def test_an_answer_that_ends_without_its_end_has_failed(name: str) -> None:
    with pytest.raises(RequestError, match="without `done`") as caught:
        heard(name).check_complete()
    assert caught.value.status == 502


@pytest.mark.parametrize("name", ["kill_runner_mid_stream", "kill_runner_mid_stream_generate"])
def test_an_error_in_the_middle_is_one(name: str) -> None:
    with pytest.raises(RequestError, match="unexpected EOF") as caught:
        heard(name)
    assert caught.value.status == 502


@pytest.mark.parametrize("name", ["chat_load", "generate_unload"])
def test_loading_or_unloading_is_no_answer(name: str) -> None:
    with pytest.raises(RequestError, match="in place of answering"):
        heard(name)


@pytest.mark.parametrize("line", [b"<html>", b"[]", b'"x"'])
def test_what_is_no_answer_at_all(line: bytes) -> None:
    with pytest.raises(RequestError, match="not an answer"):
        Listener("http://a:1").line(line)
