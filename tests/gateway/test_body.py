import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import RequestError
from orchestrator.gateway.body import for_worker, parse
from orchestrator.values.spec import Sampling


def sent(
    body: dict[str, object], sampling: Sampling | None = None, *, generates: bool = True
) -> dict[str, object]:
    ask = parse(json.dumps(body).encode(), {}, generates=generates)
    result = json.loads(for_worker(ask, "fast", sampling or Sampling(), generates=generates))
    assert isinstance(result, dict)
    return result


BAD = [
    ("not JSON", b"{", "invalid_json"),
    ("not UTF-8", b'{"model":"\xff"}', "invalid_json"),
    ("empty", b"", "invalid_json"),
    ("a list", b"[]", "invalid_json"),
    ("NaN is not JSON", b'{"model":"a","temperature":NaN}', "invalid_json"),
    ("nested without end", b'{"model":' + b"[" * 200_000, "invalid_json"),
    ("no model", b"{}", "model_missing"),
    ("a model that is no string", b'{"model":3}', "model_missing"),
    ("an empty model", b'{"model":""}', "model_missing"),
    ("a model that no file could have", b'{"model":"' + b"x" * 256 + b'"}', "invalid_model"),
    ("stream is no boolean", b'{"model":"a","stream":"yes"}', "invalid_type"),
    ("stream_options is no object", b'{"model":"a","stream":true,"stream_options":[]}', "invalid_type"),
]


@pytest.mark.parametrize(("sentence", "body", "code"), BAD, ids=[case[0] for case in BAD])
def test_a_body_that_makes_no_sense_is_refused(sentence: str, body: bytes, code: str) -> None:
    with pytest.raises(RequestError) as raised:
        parse(body, {}, generates=True)
    assert (raised.value.status, raised.value.code) == (400, code), sentence


def test_the_worker_gets_the_real_name_and_the_files_defaults() -> None:
    body = sent(
        {"model": "auto", "temperature": 0, "top_p": None}, Sampling(temperature=0.7, top_p=0.9, top_k=40)
    )
    assert body == {"model": "fast", "temperature": 0, "top_p": 0.9, "top_k": 40}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_under_either_name_replaces_the_files(name: str) -> None:
    assert sent({"model": "fast", name: 5}, Sampling(max_tokens=99)) == {"model": "fast", name: 5}


def test_a_stream_always_asks_for_its_counts() -> None:
    body = sent({"model": "fast", "stream": True, "stream_options": {"include_usage": False, "other": 1}})
    assert body["stream_options"] == {"include_usage": True, "other": 1}
    assert sent({"model": "fast", "stream": True, "stream_options": None})["stream_options"] == {
        "include_usage": True
    }
    assert "stream_options" not in sent({"model": "fast", "stream": False})


def test_whether_the_client_asked_for_counts_is_kept() -> None:
    assert parse(
        b'{"model":"a","stream":true,"stream_options":{"include_usage":true}}', {}, generates=True
    ).wants_usage
    assert not parse(b'{"model":"a","stream":true}', {}, generates=True).wants_usage


def test_embeddings_know_neither_sampling_nor_streams() -> None:
    body = {"model": "fast", "input": "x", "stream": True}
    assert sent(body, Sampling(temperature=0.7), generates=False) == body
    assert not parse(json.dumps(body).encode(), {}, generates=False).stream


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=20), JSON, max_size=5))
def test_every_other_field_reaches_the_worker_unchanged(fields: dict[str, object]) -> None:
    fields = {name: value for name, value in fields.items() if name not in ("stream", "stream_options")}
    body = fields | {"model": "fast"}
    assert sent(body) == body


def test_a_lone_surrogate_survives() -> None:
    assert sent({"model": "fast", "prompt": "\ud83d"})["prompt"] == "\ud83d"
