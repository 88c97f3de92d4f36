"""The pretended server answers as the real one was recorded to, but for values."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.engines.ollama.fake_server import FakeOllama, pretending
from tests.engines.ollama.fake_state import Manifest
from tests.engines.ollama.replay import record
from tests.engines.real_time import REAL_TIME, until

pytestmark = REAL_TIME

PUSHED = "57ba90e2e6f1894fd78e9bb722e4715a5fbfc1c2e51806e8b4cf34493ad867de"
SMALL = Manifest(
    blob="2ca3fe3c", size=945_833, template="x", parameters=(("stop", ("<|end|>",)), ("temperature", 0))
)
# Values that differ from one run, or one model, to the next.
VOLATILE = re.compile(
    r"created_at|modified_at|expires_at|digest|size|.*_duration|.*_count|parameter_size|content|response"
    r"|embeddings|model|name|model_info|tensors|modelfile|template|parameters|context_length|tokens|details"
    r"|capabilities|license|requires"
)
# Records, and the fields of an answer's objects that the engine looks at: others may be missing.
SAME = [
    "version",
    "tags_empty",
    "tags",
    "ps_empty",
    "ps_loaded",
    "show",
    "show_embed",
    "show_missing",
    "create_stream",
    "create_again_same",
    "create_derived_num_ctx",
    "create_unknown_blob",
    "delete",
    "delete_missing",
    "blob_head_present",
    "blob_head_missing",
    "generate_unload",
    "generate_unload_missing",
    "generate_unload_not_loaded",
    "chat_load",
    "chat_missing_model",
    "chat_num_predict",
    "chat_stream",
    "chat_tools_unsupported",
    "chat_think_unsupported",
    "embed",
    "embed_two",
    "embed_missing_model",
    "embed_unsupported",
    "embed_chat_refused",
    "pull_unknown",
]


@pytest.fixture
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[FakeOllama]:
    name = request.node.callspec.params["name"]
    async with pretending() as made:
        made.state.load_s = 0.0
        made.words = ("0", " ", "1", " ", "2", " ", "3")
        if not name.endswith(("tags_empty", "blob_head_missing", "create_unknown_blob", "ps_empty")):
            made.state.put("small", SMALL)
            if name != "delete_missing":
                made.state.put("small-twin", SMALL)
            made.state.put("embedder", Manifest(blob="e", size=1, embeds=True))
            made.state.blobs.add(PUSHED)
        if name in {"ps_loaded", "generate_unload"}:
            await made.state.runner("small", shift=True, left=lambda: False)
        yield made


@pytest.mark.parametrize("name", SAME)
async def test_it_answers_as_the_real_one(fake: FakeOllama, name: str) -> None:
    heard = record(name)
    wanted = heard["request"]
    body = wanted["body"] if isinstance(wanted["body"], dict) else None
    async with (
        aiohttp.ClientSession() as session,
        session.request(wanted["method"], f"{fake.url}{wanted['path']}", json=body) as answer,
    ):
        said = await answer.text()
        assert answer.status == heard["status"]
        kind = (heard["content_type"] or "").partition(";")[0]
        if heard["body"]:
            assert answer.content_type == kind
    assert _shape(said) == _shape(heard["body"])


def _shape(text: str) -> Any:  # noqa: ANN401 (JSON)
    """The kinds of lines, in their order, each kind once; values that vary are left out."""
    try:
        lines = [json.loads(line) for line in text.splitlines() if line]
    except ValueError:
        return text
    shapes: list[Any] = []
    for line in lines:
        shape = _masked(line)
        if not shapes or shapes[-1] != shape:
            shapes.append(shape)
    return [each for each in shapes if not str(each.get("status", "")).endswith(" layer sha256:…")]


def _masked(value: Any, name: str = "") -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, dict) and not (name and VOLATILE.fullmatch(name)):
        return {key: _masked(each, key) for key, each in sorted(value.items())}
    if isinstance(value, list) and name == "models":
        return [_masked(value[0])] if value else []
    if name and VOLATILE.fullmatch(name):
        return "…"
    if isinstance(value, str):
        value = re.sub(r"sha256-[0-9a-f]+", "sha256-…", value)
        return re.sub(r"sha256:[0-9a-f]+", "sha256:…", value)
    return value


async def test_a_model_that_loads_is_not_listed_and_an_unload_then_is_lost() -> None:
    """As ps_while_loading and unload_while_loading were recorded."""
    assert json.loads(record("ps_while_loading")["body"]) == {"models": []}
    assert json.loads(record("unload_while_loading")["body"])["done_reason"] == "unload"
    async with pretending() as fake, aiohttp.ClientSession(fake.url) as session:
        fake.state.put("small", SMALL)

        async def post(**body: Any) -> str:  # noqa: ANN401 (JSON)
            async with session.post("/api/generate", json={"model": "small"} | body) as answer:
                return str((await answer.json())["done_reason"])

        async def listed() -> int:
            async with session.get("/api/ps") as answer:
                return len((await answer.json())["models"])

        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(post())
            await until(lambda: fake.runners() == 1)
            assert await listed() == 0
            assert await post(keep_alive=0) == "unload"
        assert load.result() == "load"
        assert await listed() == 1
        assert await post(keep_alive=0) == "unload"
        assert await listed() == 0
