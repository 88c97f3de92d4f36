"""The estimate of a replica's memory against what the replica takes while all of its context is filled.

Random weights cost what real ones do. Never under, and at most a tenth over for what takes more than 100 MB:
`--check` fails otherwise. `ready` and `filled` are proportional shares (PSS); `peak`, against which the
estimate is judged, is the most that the replica ever had with all pages in full, as if nobody else ran on
the machine. Rows of ollama are measured where ORCHESTRATOR_TEST_OLLAMA names a server of this machine.
"""

import argparse
import asyncio
import ctypes
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks import memory_mlx, memory_ollama
from benchmarks.random_gguf import MEMORY_BOUND, TINY, Shape
from benchmarks.weighed import HEAD, Row, fill, peak_of, weight
from benchmarks.worker import cached_model, worker
from orchestrator.engines.children.launching import Workplace
from orchestrator.engines.llama.estimate import dry_run
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.values.spec import ModelSpec, Source
from orchestrator.workers.llama_cpp import C

THREADS = 2
# Like Gemma 3: grouped queries, sliding windows, a large vocabulary.
WINDOWED = Shape(dim=1024, layers=12, heads=8, kv_heads=2, ffn=2816, vocab=65_536, context=8192, window=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    model: str
    path: Path
    context: int
    parallel: int
    embeds: bool = False


def cases(*, every: bool) -> list[Case]:
    q8 = cached_model("memory-bound", MEMORY_BOUND, "q8_0")
    f16 = cached_model("memory-bound", MEMORY_BOUND, "f16")
    q4 = quantized(f16, "LLAMA_FTYPE_MOSTLY_Q4_K_M", "q4_K_M")
    windowed = cached_model("windowed", WINDOWED, "q8_0")
    few = [
        Case(model="q8_0", path=q8, context=512, parallel=1),
        Case(model="q8_0", path=q8, context=512, parallel=1, embeds=True),
        Case(model="f16", path=f16, context=512, parallel=2),
        Case(model="windowed q8_0", path=windowed, context=1024, parallel=2),
    ]
    if not every:
        return few
    return [
        *few,
        Case(model="q8_0", path=q8, context=1024, parallel=4),
        Case(model="q8_0", path=q8, context=1024, parallel=2, embeds=True),
        Case(model="f16", path=f16, context=2048, parallel=1),
        Case(model="q4_K_M", path=q4, context=512, parallel=4),
        Case(model="q4_K_M", path=q4, context=2048, parallel=1),
        Case(model="windowed q8_0", path=windowed, context=4096, parallel=1),
        Case(model="tiny", path=cached_model("tiny", TINY, "q8_0"), context=512, parallel=4),
    ]


def quantized(path: Path, kind: str, suffix: str) -> Path:
    """Return the file quantised by llama.cpp, made once and kept."""
    target = path.with_name(f"{path.stem}-{suffix}.gguf")
    if not target.exists():
        params = C.llama_model_quantize_default_params()
        params.ftype = getattr(C, kind)
        part = target.with_suffix(".part")
        if C.llama_model_quantize(bytes(path), bytes(part), ctypes.byref(params)):
            raise SystemExit(f"{path} cannot be quantised")
        part.rename(target)
    return target


def measure(case: Case, runtime: Path) -> Row:
    spec = ModelSpec(
        name="m",
        engine="llama-cpp",
        source=Source(written=str(case.path), scheme="file", location=str(case.path)),
        context=case.context,
        parallel=case.parallel,
        capabilities=("completion", "embedding") if case.embeds else ("completion",),
    )
    place = Workplace(
        argv=(),
        runtime=RuntimeFolder(runtime),
        path_of=lambda _: case.path,
        threads=THREADS,
        load_deadline_s=60.0,
        hang_deadline_s=60.0,
    )
    began_s = time.monotonic()
    pools = asyncio.run(dry_run(spec, place)).pools
    estimated_s = time.monotonic()
    with worker(case.path, context=case.context, parallel=case.parallel, threads=THREADS) as served:
        loaded_s = time.monotonic()
        pid = served.process.pid
        ready = weight(pid)
        asyncio.run(use(served.socket, case))
        filled = weight(pid)
        return Row(
            model=f"llama-cpp {case.model}{' +embeddings' if case.embeds else ''}",
            context=case.context,
            parallel=case.parallel,
            estimated=pools["ram"],
            estimate_s=estimated_s - began_s,
            load_s=loaded_s - estimated_s,
            ready=ready,
            filled=filled,
            peak_bytes=peak_of(pid, (ready, filled)),
        )


async def use(socket: str, case: Case) -> None:
    """Fill every place, then embed a text as long as the context."""
    await fill(socket, context=case.context, parallel=case.parallel)
    if case.embeds:
        body = json.dumps({"input": "e" * case.context}).encode()
        head = "POST /v1/embeddings HTTP/1.1\r\nhost: w\r\nconnection: close\r\n"
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        if b" 200 " not in (await reader.read()).partition(b"\r\n")[0]:
            raise SystemExit("the embedding failed")
        writer.close()


def measured(runtime: Path, *, every: bool) -> Iterator[Row]:
    """Yield the rows of all engines that are here."""
    for case in cases(every=every):
        yield measure(case, runtime)
    if find_spec("mlx_lm") is not None:
        for name, path, context, parallel in memory_mlx.rows(every=every):
            yield memory_mlx.measure(name, path, context, parallel)
    url = os.environ.get("ORCHESTRATOR_TEST_OLLAMA", "")
    if url:
        memory_ollama.check(url)
        for name, path, context in memory_ollama.rows(WINDOWED, every=every):
            yield asyncio.run(memory_ollama.measure(url, name, path, context))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where an estimate is wrong")
    parser.add_argument(
        "--every", action="store_true", help="more models and contexts; takes several times as long"
    )
    asked = parser.parse_args()
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="om") as runtime:
        rows = []
        for row in measured(Path(runtime), every=asked.every):
            rows.append(row)
            print(row, flush=True)
    if asked.check and not all(row.fine for row in rows):
        raise SystemExit("an estimate is wrong")


if __name__ == "__main__":
    main()
