"""A request for a model that is not loaded, up to its first token, against the bare load of the engine.

    python -m benchmarks.cold [--pairs 20] [--check]

In turns: the engine loads the model in this process, and its worker is asked directly, over its Unix
socket; and a request reaches a daemon in which the same model rests. `--check` exits 1 where the second
takes more than 1.3 times as long as the first.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.random_gguf import MEMORY_BOUND
from benchmarks.worker import cached_model
from orchestrator.engines import kinds
from orchestrator.engines.base import Engine, Premises
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec, Source
from tests.e2e.house import REPOSITORY, House, house

MOST_RATIO = 1.3
LAZY = "engine: llama-cpp\nsource: file:{path}\ncontext: 512\nparallel: 4\nload: on-demand\nidle: 200ms\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Milliseconds until the first token, both ways; `loads` are the daemon's own loads."""

    model: str
    bare: list[float]
    cold: list[float]
    loads: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.cold) / statistics.median(self.bare)

    def __str__(self) -> str:
        bare, cold = statistics.median(self.bare), statistics.median(self.cold)
        loads = statistics.median(self.loads)
        return (
            f"{self.model:<24} bare {bare:7.0f} ms   cold {cold:7.0f} ms (of it the load {loads:7.0f} ms)"
            f"   ratio {self.ratio:.3f}   slowest {max(self.bare):.0f} and {max(self.cold):.0f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=20, help="how often each is measured")
    parser.add_argument("--check", action="store_true", help="exit 1 where the ratio is beyond its target")
    arguments = parser.parse_args()
    files = {
        "demo:small": REPOSITORY / "orchestrator" / "demo" / "small.gguf",
        "149M parameters, q8_0": cached_model("memory-bound", MEMORY_BOUND, "q8_0"),
    }
    found = [measure(name, path, arguments.pairs) for name, path in files.items()]
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {arguments.pairs} pairs each")
    for pairs in found:
        print(pairs)
    print(f"target: at most {MOST_RATIO}")
    sys.exit(1 if arguments.check and any(pairs.ratio > MOST_RATIO for pairs in found) else 0)


def measure(model: str, path: Path, count: int) -> Pairs:
    bare, cold, loads = [], [], []
    spec = ModelSpec(
        name="bare",
        engine="llama-cpp",
        source=Source(written=f"file:{path}", scheme="file", location=str(path)),
        context=512,
        parallel=4,
    )
    with (
        tempfile.TemporaryDirectory(prefix="oc") as folder,
        house(Path(folder), models={"lazy": LAZY.format(path=path)}) as home,
        asyncio.Runner() as runner,
    ):
        os.environ.update(home.environment())  # what decides how many cores a worker uses, among others
        premises = Premises(
            runtime=Path(folder) / "b", cache=Path(folder), settings=Settings(), environment=os.environ
        )
        engine = kinds.build_all(premises)["llama-cpp"]
        home.start()
        home.until(lambda: conditions(home)["Fetched"] == "True")
        through(home)  # brings the file into memory, for both
        for _ in range(count):
            bare.append(runner.run(direct(engine, spec)))
            cold.append(through(home))
            loads.append(home.model("lazy")["takes"]["load_s"] * 1000)
        home.stop()
    return Pairs(model=model, bare=bare, cold=cold, loads=loads)


def conditions(home: House) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in home.model("lazy")["conditions"]}


async def direct(engine: Engine, spec: ModelSpec) -> float:
    """Load the model, and ask its worker as soon as it is ready."""
    began = time.perf_counter()
    running = await engine.ensure_loaded("bare-1", spec)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(running.socket)
        first_token(asking, spec.name)
    took_ms = (time.perf_counter() - began) * 1000
    await engine.ensure_unloaded("bare-1")
    return took_ms


def through(home: House) -> float:
    """Ask the daemon, in which the model rests."""
    home.until(lambda: not home.model("lazy")["replicas"])
    time.sleep(0.2)  # what follows an unload is not part of the next load
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", home.port)) as asking:
        asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first_token(asking, "lazy")
    return (time.perf_counter() - began) * 1000


def first_token(asking: socket.socket, model: str) -> None:
    """Ask for a stream, and return when something of the answer has arrived."""
    asked = {"model": model, "prompt": "Count", "max_tokens": 1, "stream": True}
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    asking.sendall(head.encode() + body)
    content = b""
    while b"data: " not in content:
        piece = asking.recv(1 << 16)
        content += piece
        if not piece or not content.startswith(b"HTTP/1.1 200"[: len(content)]):
            raise SystemExit(f"no answer: {content!r}")


if __name__ == "__main__":
    main()
