"""Two models that fit into memory only one at a time, and clients who want both: swaps, waits and answers.

    python -m benchmarks.thrash [--minutes 1] [--check]

Two shapes: two clients, each on its own model, without a pause; and one that takes turns between the two,
as an agent does. Each under the policy as it is, and under the naive one, which makes room at once whenever
the other model is asked for. A wait is the time to the first token. `--check` exits 1 where the policy
swaps more often than the naive one, answers less to two clients, or lets a request fail.
"""

import argparse
import http.client
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.random_gguf import MEMORY_BOUND
from benchmarks.worker import cached_model
from tests.e2e.house import House, house

MODELS: Final = ("a", "b")
TOKENS: Final = 16
LAZY: Final = """engine: llama-cpp
source: file:{path}
context: 512
memory: 300MiB
load: on-demand
idle: 10m
"""
LIMIT: Final = "memory: {limit: 400MiB}\n"
AS_IT_IS: Final = "as it is"
NAIVE: Final = "naive"
# Every waiting request makes room at once; what is being answered is finished all the same.
NAIVE_PROGRAM: Final = """
import sys
from orchestrator.cli.main import main
from orchestrator.decide import evict
evict.LOADS_WORTH = evict.SETTLED_S = evict.SETTLED_LOADS = 0.0
sys.exit(main())
"""
SHAPES: Final = {"two clients": (("a",), ("b",)), "one that takes turns": (("a", "b"),)}


@dataclass(kw_only=True)
class Cell:
    """What came of one shape under one policy."""

    shape: str
    policy: str
    minutes: float
    swaps: int = 0
    load_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    failed: int = 0

    def __str__(self) -> str:
        waits = sorted(self.waits_s)
        waited = [wait for wait in waits if wait > self.load_s / 2] or [0.0]
        return (
            f"{self.shape:<21} {self.policy:<9} {self.swaps / self.minutes:6.1f}"
            f"   {'+'.join(str(self.answers[model]) for model in MODELS):>9}"
            f"   {statistics.median(waits):7.2f} {waits[len(waits) * 95 // 100]:7.2f} {waits[-1]:7.2f}"
            f"   {len(waited):5} {statistics.median(waited):7.2f}   {self.load_s:6.2f} {self.failed:6}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long each of the four runs")
    parser.add_argument("--check", action="store_true", help="exit 1 where the policy is no better")
    arguments = parser.parse_args()
    cells = {
        (shape, policy): run(shape, policy, arguments.minutes)
        for shape in SHAPES
        for policy in (AS_IT_IS, NAIVE)
    }
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {arguments.minutes:g} min each")
    print(f"{'':31} swaps/     answers   wait for the first token, s   waited for a load    load")
    print(f"{'':31} minute       a + b    median     p95    most   times  median, s        s failed")
    for cell in cells.values():
        print(cell)
    two, naive = cells["two clients", AS_IT_IS], cells["two clients", NAIVE]
    worse = two.swaps > naive.swaps or two.answers.total() < naive.answers.total()
    failed = any(cell.failed for cell in cells.values())
    sys.exit(1 if arguments.check and (worse or failed) else 0)


def run(shape: str, policy: str, minutes: float) -> Cell:
    cell = Cell(shape=shape, policy=policy, minutes=minutes)
    path = cached_model("memory-bound", MEMORY_BOUND, "q8_0")
    with (
        tempfile.TemporaryDirectory(prefix="ot") as folder,
        house(Path(folder), models=dict.fromkeys(MODELS, LAZY.format(path=path))) as home,
    ):
        home.write("policies/default.yaml", "kind: routing\ndefault: true\notherwise: [a]\n")
        home.write("orchestrator.yaml", LIMIT + ("min_residency: 0s\n" if policy == NAIVE else ""))
        if policy == NAIVE:
            home.program = ("-c", NAIVE_PROGRAM)
        home.start()
        for model in MODELS:  # their load times are known from here on
            ask(home, model)
        before = loads(home)
        ends = time.monotonic() + minutes * 60
        clients = [
            threading.Thread(target=client, args=(home, itertools.cycle(turns), ends, cell))
            for turns in SHAPES[shape]
        ]
        for each in clients:
            each.start()
        for each in clients:
            each.join()
        cell.swaps = loads(home) - before
        cell.load_s = max(home.model(model)["takes"]["load_s"] for model in MODELS)
        home.stop()
    return cell


def client(home: House, turns: Iterator[str], ends: float, cell: Cell) -> None:
    while time.monotonic() < ends:
        model = next(turns)
        wait_s = ask(home, model)
        if wait_s is None:
            cell.failed += 1
        else:
            cell.waits_s.append(wait_s)
            cell.answers[model] += 1


def ask(home: House, model: str) -> float | None:
    """Return the seconds until the first token of an answer that was whole; None for any other."""
    body = {
        "model": model,
        "prompt": "Count",
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stream": True,
    }
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", home.port, timeout=120)
    connection.request("POST", "/v1/completions", json.dumps(body))
    answer = connection.getresponse()
    first = answer.read1(1)
    wait_s = time.monotonic() - began
    whole = first + answer.read()
    connection.close()
    return wait_s if answer.status == 200 and b"data: [DONE]" in whole else None


def loads(home: House) -> int:
    return home.log().count(": Loading: ")


if __name__ == "__main__":
    main()
