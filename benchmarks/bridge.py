"""What a bridge adds: the same request straight to an endpoint and through the engine `openai`, in turns.

    python -m benchmarks.bridge [--check]

The endpoint is a process on this machine that generates nothing, so nothing hides behind it; the bridge is
another one, on uvloop as the daemon is. Three figures, each beside what two halves of the direct runs differ
by:

- the time that a whole answer takes;
- the time per token of a stream at a hundred tokens a second, as real models make them;
- the same as fast as the endpoint can write, where many tokens arrive at once.

Besides, the processor time that the bridge takes itself, per request and per token.
`--check` exits 1 where a figure is beyond its target.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import uvloop

from benchmarks.gateway import MESSAGES, Caller, Pairs, show
from orchestrator.engines.openai.engine import OpenAIEngine
from orchestrator.values.spec import ModelSpec, Source
from orchestrator.workers.wire import Connection, Connections, Exchange

MOST_ADDED_MS = 1.0
MOST_RATIO = 1.05
MOST_TOKEN_US = 300.0
PACE_S = 0.01


class Endpoint:
    """Answers at once or at a pace; `seed` of the body says which, as it is passed on as it is."""

    def __init__(self) -> None:
        head = {"id": "chatcmpl-0123456789abcdef01234567", "object": "chat.completion.chunk", "created": 1}
        choice = {"index": 0, "delta": {"content": " token"}, "logprobs": None, "finish_reason": None}
        chunk = json.dumps(head | {"model": "theirs", "choices": [choice]}, separators=(",", ":"))
        self._event = f"data: {chunk}\n\n".encode()
        message = {"index": 0, "message": {"role": "assistant", "content": "token"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        self._whole = json.dumps(head | {"model": "theirs", "choices": [message], "usage": usage}).encode()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        connections = Connections()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self._handle, connections), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with asyncio.TaskGroup() as self._tasks:
            await server.serve_forever()

    def _handle(self, exchange: Exchange) -> None:
        if exchange.method == "GET":
            exchange.answer(200, json.dumps({"data": [{"id": "theirs"}]}).encode())
            return
        fields = json.loads(exchange.body)
        if not fields.get("stream"):
            exchange.answer(200, self._whole)
        elif self._tasks is not None:
            self._tasks.create_task(self._stream(exchange, fields["max_tokens"], paced=bool(fields["seed"])))

    async def _stream(self, exchange: Exchange, tokens: int, *, paced: bool) -> None:
        exchange.open_stream(self._event)
        for _ in range(tokens - 1):
            await asyncio.sleep(PACE_S if paced else 0)
            exchange.send(self._event)
        exchange.close_stream(b"data: [DONE]\n\n")


async def bridge(folder: str, port: str) -> None:
    """Serve a replica of the endpoint on that port until killed."""
    spec = ModelSpec(
        name="ours",
        engine="openai",
        source=Source(written="theirs", scheme="name", location="theirs"),
        endpoints=(f"http://127.0.0.1:{port}/v1",),
    )
    running = await OpenAIEngine(Path(folder)).ensure_loaded("r1", spec)
    print(running.socket, flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def process(*args: str) -> Iterator[tuple[int, str]]:
    """Run one side of this benchmark; give its process number and what it says when it is ready."""
    argv = [sys.executable, "-m", "benchmarks.bridge", *args]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child.pid, child.stdout.readline().strip() if child.stdout else ""
        finally:
            child.kill()


def cpu_us(pid: int) -> float:
    """Return the processor time that a process has had so far (Linux)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000


class Ways:
    """The two ways to the endpoint, and the bridge's own processor time on one of them."""

    def __init__(self, direct: Caller, through: Caller, bridge_pid: int) -> None:
        self._direct = direct
        self._through = through
        self._pid = bridge_pid

    def compare(self, measure: Callable[[Caller], float], count: int) -> tuple[Pairs, float]:
        """Return the times both ways, in turns, and what the bridge took for one of them in microseconds."""
        for caller in (self._direct, self._through):
            measure(caller)
        direct, through, spent = [], [], 0.0
        for _ in range(count // 2):
            direct.append(measure(self._direct))
            before = cpu_us(self._pid)
            through.append(measure(self._through))
            through.append(measure(self._through))  # whatever drifts hits both alike
            spent += cpu_us(self._pid) - before
            direct.append(measure(self._direct))
        return Pairs(direct=direct, through=through), spent / len(through)


def body(*, tokens: int = 1, stream: bool = False, paced: bool = False) -> bytes:
    fields = {"model": "theirs", "messages": MESSAGES, "max_tokens": tokens, "seed": int(paced)}
    return json.dumps(fields | ({"stream": True} if stream else {})).encode()


def compare_all(ways: Ways) -> bool:
    """Print all figures; return whether they keep to their targets."""
    whole, request_us = ways.compare(lambda caller: caller.whole(body()), 1000)
    slow, fast = body(tokens=40, stream=True, paced=True), body(tokens=2000, stream=True)
    paced, slow_us = ways.compare(lambda caller: caller.stream(slow, 40), 12)
    quick, fast_us = ways.compare(lambda caller: caller.stream(fast, 2000), 20)
    show("a whole answer", whole)
    show(f"per token at {1 / PACE_S:.0f} tok/s", paced)
    show("per token without a pause", quick)
    token_us, burst_us = slow_us / 40, fast_us / 2000
    most = max(MOST_RATIO, paced.noise)
    print(f"the bridge's own processor time: {request_us:.0f} µs a request; {token_us:.0f} µs a token that")
    print(f"comes alone, {burst_us:.1f} µs where many come at once")
    print(f"targets: {MOST_ADDED_MS} ms added to a whole answer; {MOST_TOKEN_US:.0f} µs a token;")
    print(f"a ratio of {most:.3f} at {1 / PACE_S:.0f} tok/s")
    return whole.added <= MOST_ADDED_MS and paced.ratio <= most and token_us <= MOST_TOKEN_US


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure is beyond its target")
    parser.add_argument("--side", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        what, *rest = arguments.side
        uvloop.run(Endpoint().run() if what == "endpoint" else bridge(*rest))
        return
    with (
        tempfile.TemporaryDirectory(prefix="ob", dir="/tmp") as folder,
        process("--side", "endpoint") as (_, port),
        process("--side", "bridge", folder, port) as (pid, path),
        contextlib.closing(Caller(("127.0.0.1", int(port)))) as direct,
        contextlib.closing(Caller(path)) as through,
    ):
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        kept = compare_all(Ways(direct, through, pid))
    sys.exit(1 if arguments.check and not kept else 0)


if __name__ == "__main__":
    main()
