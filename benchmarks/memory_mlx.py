"""The rows of mlx: wide vocabularies and few tokens, because a CPU computes little with it."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.random_gguf import Shape
from benchmarks.random_mlx import write
from benchmarks.weighed import Row, fill, peak_of, weight
from benchmarks.worker import cache, worker
from orchestrator.workers.mlx.folder import read_folder
from orchestrator.workers.mlx.memory import peak_bytes

THREADS = 2
CACHED = Shape(dim=512, layers=6, heads=8, ffn=512, vocab=32_768, context=8192)
GROUPED = Shape(dim=512, layers=8, heads=8, kv_heads=2, ffn=1408, vocab=32_768, context=8192)
SHALLOW = Shape(dim=512, layers=2, heads=8, kv_heads=2, ffn=1408, vocab=131_072, context=8192)
HALF = Shape(dim=1024, layers=3, heads=16, kv_heads=4, ffn=2816, vocab=65_536, context=8192)
_QUANTIZE = "import pathlib, sys; from orchestrator.workers.mlx.quantize import quantize; "
_QUANTIZE += "quantize(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])"


def rows(*, every: bool) -> list[tuple[str, Path, int, int]]:
    """Return names, folders, contexts and how many requests at once."""
    few = [
        ("f32", folder("cached", CACHED, "float32"), 384, 2),
        ("q8 of f32, grouped", folder("shallow", SHALLOW, "float32", "q8"), 64, 1),
    ]
    if not every:
        return few
    return [
        *few,
        ("f32, grouped", folder("grouped", GROUPED, "float32"), 192, 3),
        ("f16, grouped", folder("half", HALF, "float16"), 96, 2),
        ("q4 of f32, grouped", folder("shallow", SHALLOW, "float32", "q4"), 64, 2),
    ]


def folder(name: str, shape: Shape, kind: str, quantized: str = "") -> Path:
    """Return a folder with random weights, written once and kept."""
    source = cache() / f"mlx-{name}-{shape.dim}x{shape.layers}x{shape.vocab}-{kind}"
    if not source.exists():
        part = source.with_suffix(f".{os.getpid()}")
        write(part, shape, kind=kind)
        part.rename(source)
    if not quantized:
        return source
    target = source.with_name(f"{source.name}-{quantized}")
    if not target.exists():
        part = target.with_suffix(f".{os.getpid()}")
        part.mkdir()
        subprocess.run([sys.executable, "-c", _QUANTIZE, source, part, quantized], check=True)
        part.rename(target)
    return target


def measure(name: str, path: Path, context: int, parallel: int) -> Row:
    began_s = time.monotonic()
    estimated = peak_bytes(read_folder(path), context=context, parallel=parallel)
    estimated_s = time.monotonic()
    with worker(path, context=context, parallel=parallel, threads=THREADS, runtime="mlx") as served:
        loaded_s = time.monotonic()
        pid = served.process.pid
        ready = weight(pid)
        asyncio.run(fill(served.socket, context=context, parallel=parallel))
        filled = weight(pid)
        return Row(
            model=f"mlx {name}",
            context=context,
            parallel=parallel,
            estimated=estimated,
            estimate_s=estimated_s - began_s,
            load_s=loaded_s - estimated_s,
            ready=ready,
            filled=filled,
            peak_bytes=peak_of(pid, (ready, filled)),
        )
