"""What a pretended Ollama server has on its disk and in its memory, and how that changes.

It behaves as the real one was measured to: a model that is loading is not listed; an unload answers at once
and waits for the answers under way; one that comes during a load is lost; a blob of weights has one runner.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engines.ollama.names import parse


@dataclass(frozen=True)
class Manifest:
    blob: str
    size: int
    template: str = ""
    parameters: tuple[tuple[str, Any], ...] = ()
    embeds: bool = False

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def context(self) -> int:
        return min(int(dict(self.parameters).get("num_ctx", 1024)), 1024)


@dataclass(eq=False)
class Runner:
    """One model in memory. `ready` is set once it is loaded, `gone` once it has ended."""

    name: str
    manifest: Manifest
    shift: bool
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    busy: int = 0
    leaving: bool = False
    stuck: bool = False


class Missing(Exception):
    """There is no model of that name."""


@dataclass
class State:
    """`load_s` is how long a load takes; `published` are the tags of the registry, by name."""

    load_s: float = 0.15
    version: str = "0.33.0-rc2"
    blobs: set[str] = field(default_factory=set)
    manifests: dict[tuple[str, ...], tuple[str, Manifest]] = field(default_factory=dict)
    published: dict[tuple[str, ...], Manifest] = field(default_factory=dict)
    runners: dict[str, Runner] = field(default_factory=dict)
    loads: int = 0

    def find(self, name: str) -> tuple[str, Manifest]:
        found = self.manifests.get(parse(name).key)
        if found is None:
            raise Missing
        return found

    def put(self, name: str, manifest: Manifest) -> None:
        parts = parse(name)
        full = f"{parts.model}:{parts.tag}"
        if parts.namespace != "library":
            full = f"{parts.namespace}/{full}"
        if parts.host != "registry.ollama.ai":
            full = f"{parts.host}/{full}"
        self.blobs.add(manifest.blob)
        self.manifests[parts.key] = (full, manifest)

    def delete(self, name: str) -> None:
        _, manifest = self.find(name)
        del self.manifests[parse(name).key]
        if all(other.blob != manifest.blob for _, other in self.manifests.values()):
            self.blobs.discard(manifest.blob)

    async def runner(self, name: str, *, shift: bool, left: Callable[[], bool]) -> Runner:
        """Return the model's runner, ready; a load whose client has left is given up."""
        full, manifest = self.find(name)
        runner = self.runners.get(manifest.blob)
        if runner is not None and (runner.manifest.context != manifest.context or runner.shift != shift):
            await self._end(runner)
            runner = None
        if runner is None or runner.gone.is_set():
            runner = self.runners[manifest.blob] = Runner(name=full, manifest=manifest, shift=shift)
            self.loads += 1
            try:
                await _sleep_unless(self.load_s, left)
            except BaseException:
                self.end_at_once(runner)
                raise
            runner.ready.set()
        else:
            await runner.ready.wait()
        return runner

    def unload(self, name: str) -> None:
        """Have a model go once it is idle; while it loads, that is lost."""
        _, manifest = self.find(name)
        runner = self.runners.get(manifest.blob)
        if runner is not None and runner.ready.is_set():
            runner.leaving = True
            self.release(runner)

    def release(self, runner: Runner) -> None:
        if runner.leaving and not runner.busy:
            self.end_at_once(runner)

    def end_at_once(self, runner: Runner) -> None:
        runner.gone.set()
        if self.runners.get(runner.manifest.blob) is runner:
            del self.runners[runner.manifest.blob]

    def resident(self) -> list[Runner]:
        return [each for each in self.runners.values() if each.ready.is_set()]

    async def _end(self, runner: Runner) -> None:
        runner.leaving = True
        self.release(runner)
        await runner.gone.wait()


async def _sleep_unless(seconds: float, left: Callable[[], bool]) -> None:
    """Sleep, but give up when the client has left."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        if left():
            raise ConnectionResetError
        await asyncio.sleep(min(0.01, seconds))


def details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "468K",
        "quantization_level": "F16",
    }


def info() -> dict[str, Any]:
    return {
        "general.architecture": "llama",
        "general.parameter_count": 468288,
        "llama.attention.head_count": 3,
        "llama.attention.head_count_kv": 3,
        "llama.block_count": 4,
        "llama.context_length": 1024,
        "llama.embedding_length": 96,
        "llama.feed_forward_length": 256,
        "llama.vocab_size": 261,
        "tokenizer.ggml.tokens": None,
    }


def parameters_text(manifest: Manifest) -> str:
    lines = []
    for name, value in manifest.parameters:
        values = value if isinstance(value, tuple) else (value,)
        lines += [f"{name:<30} {json.dumps(each)}" for each in values]
    return "\n".join(lines)
