"""The rows of ollama, at a server of this machine that runs already; what is made there is removed again."""

import asyncio
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.random_gguf import MEMORY_BOUND, Shape
from benchmarks.weighed import Row, fill, peak_of, weight
from benchmarks.worker import cached_model
from orchestrator.engines.base import Premises
from orchestrator.engines.memory.accelerators import NoAccelerators
from orchestrator.engines.ollama.engine import OllamaEngine
from orchestrator.engines.ollama.local import kept_of, slots_of
from orchestrator.engines.ollama.place import port_of
from orchestrator.values.memory import RAM
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec, Source

LOAD_DEADLINE_S = 120.0
GROUPED = Shape(dim=768, layers=16, heads=12, kv_heads=3, ffn=2304, vocab=32_000, context=8192)


def rows(windowed: Shape, *, every: bool) -> list[tuple[str, Path, int]]:
    """Return names, files and contexts; how many requests at once is the server's own setting."""
    q8 = cached_model("memory-bound", MEMORY_BOUND, "q8_0")
    few = [
        ("q8_0", q8, 512),
        ("f16, grouped", cached_model("grouped", GROUPED, "f16"), 512),
        ("windowed q8_0", cached_model("windowed", windowed, "q8_0"), 1024),
    ]
    if not every:
        return few
    return [
        *few,
        ("q8_0", q8, 2048),
        ("f16", cached_model("memory-bound", MEMORY_BOUND, "f16"), 1024),
        ("windowed q8_0", cached_model("windowed", windowed, "q8_0"), 4096),
    ]


def check(url: str) -> None:
    """Leave where the server's runners keep prompts without a bound: no estimate holds then."""
    if kept_of(port_of(url)) is None:
        raise SystemExit(
            f"the Ollama server at {url} keeps up to 8 GiB of prompts for each model: start it with "
            "LLAMA_ARG_CACHE_RAM=0, as the user of this benchmark"
        )


def runners() -> set[int]:
    """Return the processes that run models for Ollama servers."""
    return {each.pid for each in psutil.process_iter(["name"]) if each.info["name"] == "llama-server"}


async def measure(url: str, name: str, path: Path, context: int) -> Row:
    slots = await asyncio.to_thread(slots_of, port_of(url)) or 1
    spec = ModelSpec(
        name="benchmark",
        engine="ollama",
        source=Source(written=f"file:{path}", scheme="file", location=str(path)),
        context=context,
        parallel=slots,
        accelerator="cpu",
        endpoints=(url,),
    )
    with tempfile.TemporaryDirectory(prefix="om") as folder:
        premises = Premises(
            runtime=Path(folder) / "r",
            cache=Path(folder) / "c",
            settings=Settings(load_deadline_s=LOAD_DEADLINE_S),
            environment={},
        )
        engine = OllamaEngine(premises, accelerators=NoAccelerators())
        try:
            await engine.ensure_fetched(spec, lambda _: None)
            began_s = time.monotonic()
            estimated = (await engine.estimate(spec))[RAM]
            estimated_s = time.monotonic()
            others = runners()
            running = await engine.ensure_loaded("r", spec)
            loaded_s = time.monotonic()
            (pid,) = runners() - others
            ready = weight(pid)
            await fill(
                running.socket, context=context - 4, parallel=slots
            )  # the server adds a token of its own
            filled = weight(pid)
            return Row(
                model=f"ollama {name}",
                context=context,
                parallel=slots,
                estimated=estimated,
                estimate_s=estimated_s - began_s,
                load_s=loaded_s - estimated_s,
                ready=ready,
                filled=filled,
                peak_bytes=peak_of(pid, (ready, filled)),
            )
        finally:
            await engine.ensure_unloaded("r")
            await engine.ensure_removed(spec, ())
            await engine.close()
