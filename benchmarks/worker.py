"""A worker child and its clients, for benchmarks: nothing between them but the Unix socket."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.random_gguf import Shape, write
from orchestrator.workers.frames import Launch, Ready, decode_report, encode_launch


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A worker that answers on `socket`."""

    socket: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """Return the CPU seconds it has used; what others do on the machine hardly changes them."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """What came of one streamed completion."""

    text: str
    tokens: int
    chunks: int


def cache() -> Path:
    """Return the folder for what is made once and kept."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orchestrator-benchmarks"
    root.mkdir(parents=True, exist_ok=True)
    return root


def cached_model(name: str, shape: Shape, kind: str) -> Path:
    """Return a random-weight file, written once and kept."""
    path = (
        cache() / f"{name}-{shape.dim}x{shape.layers}x{shape.vocab}-{kind}-2.gguf"
    )  # 2: of the weights' recipe
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        write(part, shape, kind=kind)
        part.rename(path)
    return path


@contextmanager
def worker(
    path: Path, *, context: int, parallel: int, threads: int | None, runtime: str = "llama-cpp"
) -> Iterator[Served]:
    """Run a worker child."""
    with tempfile.TemporaryDirectory(prefix="ob") as folder:
        socket = f"{folder}/w.sock"
        launch = Launch(
            model="bench",
            path=str(path),
            context=context,
            parallel=parallel,
            socket=socket,
            threads=threads,
            runtime=runtime,
        )
        command = [sys.executable, "-m", "orchestrator.workers.serve"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            if child.stdin is None or child.stdout is None:
                raise AssertionError("pipes were asked for")
            child.stdin.write(encode_launch(launch))
            child.stdin.flush()
            report = decode_report(child.stdout.readline())
            if not isinstance(report, Ready):
                raise SystemExit(f"the worker did not start: {report.message}")
            try:
                yield Served(socket=socket, process=psutil.Process(child.pid))
            finally:
                child.kill()


async def complete(socket: str, prompt: str, tokens: int) -> Streamed:
    """Stream one greedy completion of exactly so many tokens."""
    body = json.dumps(
        {
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: w\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_unix_connection(socket, limit=1 << 24)
    writer.write(head.encode() + body)
    content = await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    events = [json.loads(line[6:]) for line in content.split(b"\n") if line.startswith(b"data: {")]
    text = "".join(choice["text"] for event in events for choice in event["choices"])
    return Streamed(text=text, tokens=events[-1]["usage"]["completion_tokens"], chunks=len(events) - 2)
