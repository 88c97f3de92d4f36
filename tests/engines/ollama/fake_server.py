"""A pretended Ollama server on a real socket; test_fidelity.py holds it to what a real one has said."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from orchestrator.engines.ollama.names import parse
from tests.engines.ollama.fake_state import (
    Manifest,
    Missing,
    Runner,
    State,
    details,
    info,
    parameters_text,
)
from tests.engines.ollama.replay import listening

NDJSON = "application/x-ndjson"
AT = "2026-11-20T12:00:00.123456789Z"
EXIT = "an error was encountered while running the model: unexpected EOF"


class FakeOllama:
    """`words` is what every answer is made of, a token each; `pause_s` lies between two of them.

    `fault` is what answers do in place of ending: `silent` (nothing more comes), `cut` (the stream just ends,
    as where a model repeats itself). `refuse` answers all requests that make text: a status, an error.
    """

    def __init__(self) -> None:
        self.state = State()
        self.url = ""
        self.words: tuple[str, ...] = ("1", "6")
        self.pause_s = 0.0
        self.fault = ""
        self.refuse: tuple[int, str] | None = None
        self.asked: list[tuple[str, str, Any]] = []
        self.hung_up = 0
        self.pull_lines: tuple[dict[str, Any], ...] | None = None
        self.pull_pause_s = 0.0

    async def end_runner(self, model: str) -> None:
        for runner in self.state.resident():
            if f"/{model}:" in runner.name or parse(runner.name).model == model:
                self.state.end_at_once(runner)

    def runners(self) -> int:
        return len(self.state.runners)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if request.path.startswith("/api/blobs/"):
            return self._blob(request, raw)
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            return _error(400, "unexpected EOF")
        self.asked.append((request.method, request.path, body))
        try:
            return await self._route(request, body)
        except Missing:
            name = body.get("model", "")
            text = f"model '{name}' not found"
            if request.path == "/api/show":
                text = f"model '{_full(name).rpartition('/')[2]}' not found"
            if request.path == "/api/embed":
                text = f'model "{name}" not found, try pulling it first'
            return _error(404, text)

    async def _route(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:  # noqa: PLR0911 (a table)
        match request.path:
            case "/api/version":
                return web.json_response({"version": self.state.version})
            case "/api/tags":
                return web.json_response(
                    {"models": [self._tag(*each) for each in self.state.manifests.values()]}
                )
            case "/api/ps":
                return web.json_response({"models": [_ps(each) for each in self.state.resident()]})
            case "/api/show":
                return self._show(body)
            case "/api/delete":
                self.state.delete(body["model"])
                return web.Response(status=200)
            case "/api/create":
                return await _lines(request, self._create(body))
            case "/api/pull":
                return await self._pull(request, body)
            case "/api/embed":
                return await self._embed(request, body)
            case _:
                return await self._make(request, body, chat=request.path == "/api/chat")

    def _tag(self, name: str, manifest: Manifest) -> dict[str, Any]:
        return {
            "name": name,
            "model": name,
            "modified_at": AT,
            "size": manifest.size,
            "digest": manifest.digest,
            "details": details() | {"context_length": 1024, "embedding_length": 96},
            "capabilities": ["embedding"] if manifest.embeds else ["completion"],
        }

    def _show(self, body: dict[str, Any]) -> web.Response:
        _, manifest = self.state.find(body["model"])
        return web.json_response(
            {
                "modelfile": f"# Modelfile\nFROM /models/blobs/sha256-{manifest.blob}\nTEMPLATE x\n",
                "parameters": parameters_text(manifest),
                "template": manifest.template,
                "details": details(),
                "model_info": info(),
                "tensors": [],
                "capabilities": ["embedding"] if manifest.embeds else ["completion"],
                "modified_at": AT,
            }
        )

    def _blob(self, request: web.Request, raw: bytes) -> web.Response:
        wanted = request.path.rpartition(":")[2]
        if request.method == "HEAD":
            return web.Response(status=200 if wanted in self.state.blobs else 404)
        found = hashlib.sha256(raw).hexdigest()
        new = found not in self.state.blobs
        self.state.blobs.add(found)
        if found != wanted:
            return _error(400, f'digest mismatch, expected "sha256:{wanted}", got "sha256:{found}"')
        return web.Response(status=201 if new else 200)

    def _create(self, body: dict[str, Any]) -> Iterable[dict[str, Any]]:
        parameters = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in (body.get("parameters") or {}).items()
        }
        if "from" in body:
            try:
                _, base = self.state.find(body["from"])
            except Missing:
                yield {"status": "pulling manifest"}
                yield {"error": "pull model manifest: dial tcp: lookup registry.ollama.ai: no such host"}
                return
            made = Manifest(
                blob=base.blob,
                size=base.size,
                template=base.template,
                parameters=tuple(sorted((dict(base.parameters) | parameters).items())),
                embeds=base.embeds,
            )
        else:
            pushed = next(iter(body["files"].values())).removeprefix("sha256:")
            yield {"status": "parsing GGUF"}
            if pushed not in self.state.blobs:
                path = f"/models/blobs/sha256-{pushed}"
                yield {"error": f"open {path}: no such file or directory"}
                return
            yield {"status": "verifying conversion"}
            # The model's blob is another file than the one that was pushed.
            blob = hashlib.sha256(pushed.encode()).hexdigest()
            made = Manifest(
                blob=blob,
                size=945_000,
                template=body.get("template", ""),
                parameters=tuple(sorted(parameters.items())),
            )
        old = "using existing" if made.blob in self.state.blobs else "creating new"
        yield {"status": f"{old} layer sha256:{made.blob}"}
        yield {"status": "writing manifest"}
        self.state.put(body["model"], made)
        yield {"status": "success"}

    async def _pull(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        found = self.state.published.get(parse(body["model"]).key)
        lines: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        if self.pull_lines is not None:
            lines = list(self.pull_lines)
        elif found is None:
            lines.append({"error": "pull model manifest: file does not exist"})
        else:
            layer = {"status": f"pulling {found.blob[:12]}", "digest": f"sha256:{found.blob}"}
            for part in (0, 1, 2):
                done = {"completed": found.size * part // 2} if part else {}
                lines.append(layer | {"total": found.size} | done)
            lines += [
                {"status": "verifying sha256 digest"},
                {"status": "writing manifest"},
                {"status": "success"},
            ]
        answer = await _lines(request, lines, pause_s=self.pull_pause_s)
        if found is not None and lines[-1] == {"status": "success"}:
            self.state.put(body["model"], found)
        return answer

    async def _make(self, request: web.Request, body: dict[str, Any], *, chat: bool) -> web.StreamResponse:  # noqa: PLR0911 (Ollama's own order of refusals)
        name, said = body["model"], body.get("messages") if chat else body.get("prompt")
        _, manifest = self.state.find(name)
        if body.get("keep_alive") == 0 and not said:
            self.state.unload(name)
            return web.json_response(_line(name, chat, "") | {"done": True, "done_reason": "unload"})
        if self.refuse is not None:
            return _error(*self.refuse)
        if manifest.embeds:
            return _error(400, f'"{name}" does not support {"chat" if chat else "generate"}')
        if body.get("tools"):
            return _error(400, f"{_full(name)} does not support tools")
        if body.get("think"):
            return _error(400, f'"{name}" does not support thinking')
        runner = await self.state.runner(name, shift=body.get("shift", True), left=lambda: _left(request))
        if not said:
            return web.json_response(_line(name, chat, "") | {"done": True, "done_reason": "load"})
        runner.busy += 1
        try:
            return await self._speak(request, body, runner, chat=chat)
        except (ConnectionResetError, asyncio.CancelledError):
            self.hung_up += 1
            raise
        finally:
            runner.busy -= 1
            self.state.release(runner)

    async def _speak(
        self, request: web.Request, body: dict[str, Any], runner: Runner, *, chat: bool
    ) -> web.StreamResponse:
        name, limit = body["model"], body.get("options", {}).get("num_predict", len(self.words) + 1)
        words = self.words[:limit]
        end = _line(name, chat, "") | {
            "done": True,
            "done_reason": "length" if limit <= len(self.words) else "stop",
            "total_duration": 3_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": 8,
            "prompt_eval_duration": 400_000,
            "eval_count": len(words) + (limit > len(self.words)),
            "eval_duration": 800_000,
        }
        if body.get("stream") is False:
            whole = _line(name, chat, "".join(words))
            return web.json_response(whole | ({"done": False} if self.fault == "cut" else end | _text(whole)))
        return await _lines(request, self._spoken(name, words, end, runner, chat=chat))

    async def _spoken(
        self, name: str, words: Iterable[str], end: dict[str, Any], runner: Runner, *, chat: bool
    ) -> AsyncIterator[dict[str, Any]]:
        for word in words:
            if self.pause_s:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.pause_s):
                        await runner.gone.wait()
            if runner.gone.is_set():
                yield {"error": EXIT}
                return
            yield _line(name, chat, word)
        if self.fault == "silent":
            await runner.gone.wait()
            yield {"error": EXIT}
        elif self.fault != "cut":
            yield end

    async def _embed(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        name = body["model"]
        _, manifest = self.state.find(name)
        if not manifest.embeds:
            return _error(501, "This server does not support embeddings. Start it with `--embeddings`")
        await self.state.runner(name, shift=True, left=lambda: _left(request))
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = [[0.5, -0.25, float(len(text))][: body.get("dimensions", 3)] for text in texts]
        found = {
            "model": name,
            "embeddings": vectors,
            "total_duration": 5_000_000,
            "load_duration": 1_000_000,
        }
        return web.json_response(found | {"prompt_eval_count": 5 * len(texts)})


@contextlib.asynccontextmanager
async def pretending() -> AsyncIterator[FakeOllama]:
    made = FakeOllama()
    async with listening(made.handle) as url:
        made.url = url
        yield made


def _full(text: str) -> str:
    name = parse(text)
    return f"{name.host}/{name.namespace}/{name.model}:{name.tag}"


def _line(name: str, chat: bool, text: str) -> dict[str, Any]:  # noqa: FBT001 (one of two forms)
    said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"response": text}
    return {"model": name, "created_at": AT} | said | {"done": False}


def _text(line: dict[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in ("message", "response") if key in line}


def _ps(runner: Runner) -> dict[str, Any]:
    past = datetime(2026, 11, 20, 11, 0, tzinfo=UTC).isoformat()
    return {
        "name": runner.name,
        "model": runner.name,
        "size": 5_924_453,
        "digest": runner.manifest.digest,
        "details": details(),
        "expires_at": past if runner.leaving else "2318-02-26T11:39:30.796879242Z",
        "size_vram": 0,
        "context_length": runner.manifest.context,
    }


def _left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


async def _lines(
    request: web.Request,
    lines: Iterable[dict[str, Any]] | AsyncIterator[dict[str, Any]],
    *,
    pause_s: float = 0.0,
) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-type": NDJSON})
    await answer.prepare(request)
    if isinstance(lines, AsyncIterator):
        async for line in lines:
            await answer.write(json.dumps(line).encode() + b"\n")
    else:
        for line in lines:
            await asyncio.sleep(pause_s)
            await answer.write(json.dumps(line).encode() + b"\n")
    return answer
