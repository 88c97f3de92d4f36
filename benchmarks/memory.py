"""The estimate of a replica's memory against what the replica takes once all of its context is filled.

Random weights cost what real ones do. Never under, and at most a tenth over for what takes more than 100 MB:
`--check` fails otherwise. Alone on the machine a replica shares no page of a library with others, and takes
some MB more: that is within the estimate too.
"""

import argparse
import asyncio
import ctypes
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.random_gguf import MEMORY_BOUND, TINY, Shape
from benchmarks.worker import cached_model, complete, worker
from orchestrator.engines.children.launching import Workplace
from orchestrator.engines.llama.estimate import dry_run
from orchestrator.engines.memory.accelerators import NoAccelerators
from orchestrator.engines.memory.weight import Weight, weigh
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.values.spec import ModelSpec, Source
from orchestrator.workers.llama_cpp import C

THREADS = 2
MB = 1e6
JUDGED_FROM = 100 * MB
MOST_OVER = 0.10
# Like Gemma 3: grouped queries, sliding windows, a large vocabulary.
WINDOWED = Shape(dim=1024, layers=12, heads=8, kv_heads=2, ffn=2816, vocab=65_536, context=8192, window=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    model: str
    path: Path
    context: int
    parallel: int
    embeds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    case: Case
    estimated: int
    estimate_s: float
    load_s: float
    ready: Weight
    filled: Weight

    @property
    def over(self) -> float:
        return self.estimated / self.filled.ram_bytes - 1

    @property
    def fine(self) -> bool:
        return self.over >= 0 and (self.over <= MOST_OVER or self.filled.ram_bytes < JUDGED_FROM)

    def __str__(self) -> str:
        case = self.case
        what = (
            f"{case.model:>15} {case.context:>5} x {case.parallel}{' +embeddings' if case.embeds else '':12}"
        )
        sizes = (self.estimated, self.ready.ram_bytes, self.filled.ram_bytes, self.filled.own_bytes)
        figures = " ".join(f"{size / MB:7.1f}" for size in sizes)
        times = f"{self.estimate_s * 1e3:5.0f} {self.load_s * 1e3:5.0f}"
        return f"{what} {figures} {self.over:+7.1%} {times}{'' if self.fine else '  WRONG'}"


def cases() -> list[Case]:
    q8 = cached_model("memory-bound", MEMORY_BOUND, "q8_0")
    f16 = cached_model("memory-bound", MEMORY_BOUND, "f16")
    q4 = quantized(f16, "LLAMA_FTYPE_MOSTLY_Q4_K_M", "q4_K_M")
    windowed = cached_model("windowed", WINDOWED, "q8_0")
    tiny = cached_model("tiny", TINY, "q8_0")
    return [
        Case(model="q8_0", path=q8, context=512, parallel=1),
        Case(model="q8_0", path=q8, context=1024, parallel=4),
        Case(model="q8_0", path=q8, context=512, parallel=1, embeds=True),
        Case(model="q8_0", path=q8, context=1024, parallel=2, embeds=True),
        Case(model="f16", path=f16, context=512, parallel=2),
        Case(model="f16", path=f16, context=2048, parallel=1),
        Case(model="q4_K_M", path=q4, context=512, parallel=4),
        Case(model="q4_K_M", path=q4, context=2048, parallel=1),
        Case(model="windowed q8_0", path=windowed, context=1024, parallel=2),
        Case(model="windowed q8_0", path=windowed, context=4096, parallel=1),
        Case(model="tiny", path=tiny, context=512, parallel=4),
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
        ready = weight(served.process.pid)
        asyncio.run(fill(served.socket, case))
        filled = weight(served.process.pid)
    return Row(
        case=case,
        estimated=pools["ram"],
        estimate_s=estimated_s - began_s,
        load_s=loaded_s - estimated_s,
        ready=ready,
        filled=filled,
    )


async def fill(socket: str, case: Case) -> None:
    """Use every token of every place at once, then embed a text as long as the context."""
    letters = (chr(ord("a") + place) for place in range(case.parallel))
    await asyncio.gather(*(complete(socket, letter * (case.context - 4), 4) for letter in letters))
    if case.embeds:
        body = json.dumps({"input": "e" * case.context}).encode()
        head = "POST /v1/embeddings HTTP/1.1\r\nhost: w\r\nconnection: close\r\n"
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        if b" 200 " not in (await reader.read()).partition(b"\r\n")[0]:
            raise SystemExit("the embedding failed")
        writer.close()


def weight(pid: int) -> Weight:
    return weigh([pid], NoAccelerators())[pid]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where an estimate is wrong")
    asked = parser.parse_args()
    print(f"{'MB':>15} {'':9}{'':12} estim.   ready  filled     own    over  est.ms load.ms")
    with tempfile.TemporaryDirectory(prefix="om") as runtime:
        rows = []
        for case in cases():
            rows.append(measure(case, Path(runtime)))
            print(rows[-1], flush=True)
    if asked.check and not all(row.fine for row in rows):
        raise SystemExit("an estimate is wrong")


if __name__ == "__main__":
    main()
