"""Requests from OpenAI's form to Ollama's: nothing is lost in silence, and what is ours stays ours."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engines.ollama.options import Wanted
from orchestrator.engines.ollama.request import wanted_of
from orchestrator.workers.fields import BadRequest

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HI = [{"role": "user", "content": "Hi"}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


def wanted(path: str, **body: Any) -> Wanted:  # noqa: ANN401 (any field)
    return wanted_of(path, json.dumps(body).encode())


def chat(**body: Any) -> dict[str, Any]:  # noqa: ANN401 (any field)
    return wanted(CHAT, **({"messages": HI} | body)).body


def refused(path: str, **body: Any) -> BadRequest:  # noqa: ANN401 (any field)
    with pytest.raises(BadRequest) as caught:
        wanted(path, **body)
    return caught.value


def test_a_chat_says_what_is_ours_to_say() -> None:
    assert chat() == {
        "messages": [{"role": "user", "content": "Hi"}],
        "keep_alive": -1,
        "truncate": False,
        "stream": True,
    }


@given(
    st.dictionaries(
        st.sampled_from(
            ["keep_alive", "num_ctx", "options", "truncate", "shift", "template", "raw", "context"]
        ),
        st.one_of(
            st.integers(), st.text(), st.dictionaries(st.sampled_from(["num_ctx", "num_gpu"]), st.integers())
        ),
    )
)
def test_a_client_can_neither_unload_nor_reload(extra: dict[str, Any]) -> None:
    assert chat(**extra) == chat()


def test_options_have_ollama_s_names() -> None:
    options = chat(
        temperature=0.5,
        top_p=0.9,
        top_k=-1,
        min_p=0.1,
        repeat_penalty=1.2,
        presence_penalty=0.3,
        frequency_penalty=-0.3,
        seed=7,
        stop="END",
        max_tokens=12,
    )["options"]
    assert options == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 0,
        "min_p": 0.1,
        "repeat_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": -0.3,
        "seed": 7,
        "stop": ["END"],
        "num_predict": 12,
    }
    assert chat(max_completion_tokens=3, max_tokens=9)["options"] == {"num_predict": 3}


def test_a_limit_of_nothing_is_refused_for_ollama_takes_it_for_none() -> None:
    assert refused(CHAT, messages=HI, max_tokens=0).param == "max_tokens"
    assert refused(TEXT, prompt="x", max_tokens=0).param == "max_tokens"


def test_a_client_s_stops_join_the_model_s_own() -> None:
    made = wanted(CHAT, messages=HI, stop=["A", "B"])
    body = made.body_for("m", stops=("<|end|>", "A"), context=256)
    assert body["options"]["stop"] == ["A", "B", "<|end|>"]
    assert "stop" not in wanted(CHAT, messages=HI).body_for("m", stops=("<|end|>",), context=256)["options"]


def test_an_answer_without_a_limit_fills_the_context_once() -> None:
    def limit(**body: Any) -> object:  # noqa: ANN401 (any field)
        return wanted(CHAT, messages=HI, **body).body_for("m", stops=(), context=256)["options"][
            "num_predict"
        ]

    assert (limit(), limit(max_tokens=9)) == (256, 9)
    assert "options" not in wanted(EMBED, input="x").body_for("m", stops=(), context=256)


def test_messages_of_all_roles() -> None:
    messages = chat(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 7}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "8"},
        ]
    )["messages"]
    assert messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "ab"},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"id": "c1", "function": {"index": 0, "name": "add", "arguments": {"a": 7}}}],
        },
        {"role": "tool", "content": "8", "tool_call_id": "c1", "tool_name": "add"},
    ]


def test_an_image_goes_along_and_nothing_is_fetched_for_it() -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    said = [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]
    assert chat(messages=said)["messages"] == [{"role": "user", "content": "What?", "images": [PIXEL]}]
    for url in (
        "https://example.com/cat.png",
        "file:///etc/passwd",
        "data:image/png,raw",
        f"data:;base64,{'!'}",
    ):
        said = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
        assert refused(CHAT, messages=said).param == "messages[0].content[0]"


def test_tools() -> None:
    assert chat(tools=[TOOL])["tools"] == [TOOL]
    assert chat(tools=[TOOL], tool_choice="auto")["tools"] == [TOOL]
    assert "tools" not in chat(tools=[TOOL], tool_choice="none")
    assert "tools" not in chat(tools=[])
    assert refused(CHAT, messages=HI, tools=[TOOL], tool_choice="required").param == "tool_choice"
    assert refused(CHAT, messages=HI, tools=["x"]).param == "tools"
    assert refused(CHAT, messages=HI, functions=[{}]).param == "functions"


def test_the_form_of_the_answer() -> None:
    schema = {"type": "object"}
    assert chat(response_format={"type": "json_object"})["format"] == "json"
    assert (
        chat(response_format={"type": "json_schema", "json_schema": {"schema": schema}})["format"] == schema
    )
    assert "format" not in chat(response_format={"type": "text"})
    assert refused(CHAT, messages=HI, response_format={"type": "xml"}).param == "response_format"
    assert refused(CHAT, messages=HI, response_format={"type": "json_schema"}).param is not None


@pytest.mark.parametrize(
    ("said", "think"),
    [
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning": {"effort": "medium"}}, "medium"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
    ],
)
def test_thinking(said: dict[str, Any], think: object) -> None:
    assert chat(**said)["think"] == think
    assert "think" not in chat()
    assert refused(CHAT, messages=HI, reasoning_effort="much").param == "reasoning_effort"


def test_logprobs() -> None:
    assert chat(logprobs=True, top_logprobs=2) == chat() | {"logprobs": True, "top_logprobs": 2}
    assert "logprobs" not in chat(logprobs=False)
    assert refused(CHAT, messages=HI, logprobs=True, top_logprobs=21).param == "top_logprobs"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": ["x"]},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        {"messages": HI, "n": 2},
        {"messages": HI, "logit_bias": {"1": 1}},
        {"messages": HI, "stop": [""]},
        {"messages": HI, "temperature": "hot"},
        {"messages": HI, "stream_options": 1},
    ],
)
def test_what_is_wrong_is_refused_by_its_name(body: dict[str, Any]) -> None:
    error = refused(CHAT, **body)
    assert error.param
    assert str(error)


def test_a_completion_is_the_very_text() -> None:
    made = wanted(TEXT, prompt="def f(", max_tokens=3, stream=True, stream_options={"include_usage": True})
    assert made.path == "/api/generate"
    assert made.legacy
    assert (made.stream, made.include_usage) == (True, True)
    assert made.body["prompt"] == "def f("
    assert made.body["raw"] is True
    assert wanted(TEXT, prompt=["x"]).body["prompt"] == "x"
    assert wanted(TEXT, prompt="x", logprobs=2).body["top_logprobs"] == 2


def test_a_hole_is_filled_by_the_model_s_own_template() -> None:
    body = wanted(TEXT, prompt="def f(", suffix="return 1").body
    assert body["suffix"] == "return 1"
    assert "raw" not in body


@pytest.mark.parametrize(
    "body", [{}, {"prompt": ""}, {"prompt": [1, 2]}, {"prompt": ["a", "b"]}, {"prompt": "x", "echo": True}]
)
def test_what_no_completion_can_be_made_of(body: dict[str, Any]) -> None:
    assert refused(TEXT, **body).param


def test_embeddings() -> None:
    made = wanted(EMBED, input="hello", dimensions=4, encoding_format="base64")
    assert made.path == "/api/embed"
    assert made.as_base64
    assert made.body == {"input": ["hello"], "dimensions": 4, "truncate": False, "keep_alive": -1}
    assert wanted(EMBED, input=["a", "b"]).body["input"] == ["a", "b"]
    for body in (
        {},
        {"input": ""},
        {"input": [""]},
        {"input": [1]},
        {"input": "a", "encoding_format": "hex"},
    ):
        assert refused(EMBED, **body).param


def test_a_body_that_is_none() -> None:
    with pytest.raises(BadRequest):
        wanted_of(CHAT, b"{")
