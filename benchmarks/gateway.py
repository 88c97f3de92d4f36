"""What the gateway adds: the same request to a worker's socket and through the whole daemon, in turns.

    python -m benchmarks.gateway [--check]

One client, the real daemon with its history, real workers. Three figures:

- the time that an answer of one token takes, not streamed;
- the time per token of a stream from a model that makes about a hundred tokens a second, as real ones do;
- the same from a tiny model, which makes thousands, so that nothing hides behind the decoding.

Beside each stands what two halves of the direct runs differ by: differences of that size mean nothing.
`--check` exits 1 where the first figure is above its target, or the second's ratio is above both its
target and that difference.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.random_gguf import TINY, Shape
from benchmarks.worker import cached_model
from tests.e2e.house import House, house

MOST_ADDED_MS = 0.5
MOST_RATIO = 1.05
PACED = Shape(dim=512, layers=8, heads=8, ffn=1408, vocab=8192, context=1024)
MESSAGES = [{"role": "user", "content": "Count for me."}]


class Caller:
    """One client on one connection, as plain as can be, so that what is measured is the other side."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        unix = isinstance(address, str)
        self._socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self._socket.connect(address)
        if not unix:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def whole(self, body: bytes) -> float:
        """Return the milliseconds until the answer was complete."""
        began = time.perf_counter()
        self._send(body)
        content = b""
        while b"\r\n\r\n" not in content:
            content += self._receive()
        head, _, rest = content.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"no answer: {head!r} {rest!r}")
        left = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]) - len(rest)
        while left:
            left -= len(self._receive())
        return (time.perf_counter() - began) * 1000

    def stream(self, body: bytes, tokens: int) -> float:
        """Return the milliseconds per token from the first piece of the stream to its end."""
        self._send(body)
        content = self._receive()
        if not content.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"no answer: {content!r}")
        while b"data: " not in content:
            content = self._receive()
        first = time.perf_counter()
        last = content
        while not last.endswith(b"0\r\n\r\n"):
            last = last[-8:] + self._receive()
        return (time.perf_counter() - first) * 1000 / tokens

    def _send(self, body: bytes) -> None:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise SystemExit("the connection was closed")
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The same thing measured both ways, in turns."""

    direct: list[float]
    through: list[float]

    @property
    def added(self) -> float:
        return statistics.median(self.through) - statistics.median(self.direct)

    @property
    def ratio(self) -> float:
        return statistics.median(self.through) / statistics.median(self.direct)

    @property
    def noise(self) -> float:
        """The ratio of two halves of the direct runs, taken in turns; at least 1."""
        halves = (statistics.median(self.direct[::2]), statistics.median(self.direct[1::2]))
        return max(halves) / min(halves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The two ways to one model."""

    model: str
    direct: Caller
    through: Caller

    def whole(self, count: int) -> Pairs:
        body = json.dumps({"model": self.model, "messages": MESSAGES, "max_tokens": 1}).encode()
        for _ in range(50):
            self.direct.whole(body)
            self.through.whole(body)
        return self._in_turns(lambda caller: caller.whole(body), count)

    def stream(self, count: int, tokens: int) -> Pairs:
        asked = {"model": self.model, "messages": MESSAGES, "max_tokens": tokens, "ignore_eos": True}
        # Asked for by the client on the direct way, by the gateway on the other: the worker does the same.
        body = json.dumps(asked | {"stream": True, "stream_options": {"include_usage": True}}).encode()
        self.direct.stream(body, tokens)
        self.through.stream(body, tokens)
        return self._in_turns(lambda caller: caller.stream(body, tokens), count)

    def _in_turns(self, measure: Callable[[Caller], float], count: int) -> Pairs:
        direct, through = [], []
        for _ in range(count // 2):
            direct.append(measure(self.direct))
            through.append(measure(self.through))
            through.append(measure(self.through))  # whatever drifts hits both alike
            direct.append(measure(self.direct))
        return Pairs(direct=direct, through=through)


def worker_sockets(running: House) -> dict[str, str]:
    """Return each model's worker socket, by asking every socket of the daemon which model it serves."""
    found = {}
    for path in running.root.rglob("*.sock"):
        if path.name == "admin.sock":
            continue
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(path))
            asking.sendall(b"GET /v1/models HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: asking.recv(1 << 16), b""))
        found[json.loads(answer.partition(b"\r\n\r\n")[2])["data"][0]["id"]] = str(path)
    return found


@contextlib.contextmanager
def ways_to(running: House, model: str, path: str) -> Iterator[Ways]:
    with (
        contextlib.closing(Caller(path)) as direct,
        contextlib.closing(Caller(("127.0.0.1", running.port))) as through,
    ):
        yield Ways(model=model, direct=direct, through=through)


def show(name: str, pairs: Pairs) -> None:
    direct, through = statistics.median(pairs.direct), statistics.median(pairs.through)
    print(
        f"{name:34} direct {direct:7.3f} ms  through {through:7.3f} ms  added {pairs.added:+.3f} ms"
        f"  ratio {pairs.ratio:.3f}  (direct against itself {pairs.noise:.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure is beyond its target")
    check = parser.parse_args().check
    tiny = f"engine: llama-cpp\nsource: file:{cached_model('tiny', TINY, 'q8_0')}\ncontext: 512\n"
    paced = f"engine: llama-cpp\nsource: file:{cached_model('paced', PACED, 'f16')}\ncontext: 512\n"
    with (
        tempfile.TemporaryDirectory(prefix="ob") as folder,
        house(Path(folder), models={"fast": tiny, "paced": paced}) as running,
    ):
        running.start()
        try:
            sockets = worker_sockets(running)
            with ways_to(running, "fast", sockets["fast"]) as fast:
                whole = fast.whole(2000)
                quick = fast.stream(40, 400)
            with ways_to(running, "paced", sockets["paced"]) as slow:
                realistic = slow.stream(24, 50)
        finally:
            running.stop()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    show("an answer of one token", whole)
    rate = 1000 / statistics.median(realistic.direct)
    show(f"per token at {rate:.0f} tok/s", realistic)
    show(f"per token at {1000 / statistics.median(quick.direct):.0f} tok/s", quick)
    most = max(MOST_RATIO, realistic.noise)
    print(f"targets: at most {MOST_ADDED_MS} ms added; ratio at {rate:.0f} tok/s at most {most:.3f}")
    sys.exit(1 if check and (whole.added > MOST_ADDED_MS or realistic.ratio > most) else 0)


if __name__ == "__main__":
    main()
