"""Do requests that come together really get decoded together? Tokens/s of 8 in a row against 8 at once.

Prints the ratio on a memory-bound model, the share of greedy answers that equal the unbatched ones, and what
serving costs per token on top of decoding. `--check` exits with 1 where the ratio is under 1.5.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

from benchmarks.random_gguf import MEMORY_BOUND, TINY
from benchmarks.worker import cached_model, complete, worker
from orchestrator.workers.context import Context
from orchestrator.workers.llama_cpp import Model
from orchestrator.workers.sampling import SamplingParams, make_sampler

CLIENTS = 8
RATIO = 1.5


def prompts(round_number: int) -> list[str]:
    return [f"Round {round_number}, client {client}: tell me something" for client in range(CLIENTS)]


async def in_a_row(socket: str, texts: list[str], tokens: int) -> tuple[float, list[str]]:
    """Return tokens/s and the answers."""
    began = time.perf_counter()
    answers = [await complete(socket, text, tokens) for text in texts]
    seconds = time.perf_counter() - began
    return sum(answer.tokens for answer in answers) / seconds, [answer.text for answer in answers]


async def at_once(socket: str, texts: list[str], tokens: int) -> tuple[float, list[str]]:
    """Return tokens/s and the answers."""
    began = time.perf_counter()
    answers = await asyncio.gather(*(complete(socket, text, tokens) for text in texts))
    seconds = time.perf_counter() - began
    return sum(answer.tokens for answer in answers) / seconds, [answer.text for answer in answers]


def batching(path: Path, *, rounds: int, tokens: int, threads: int | None) -> float:
    """Measure and print; return the median ratio."""
    ratios, equal, total = [], 0, 0
    with worker(path, context=512, parallel=CLIENTS, threads=threads) as socket:
        asyncio.run(at_once(socket, ["warm up"] * 2, 8))
        for number in range(rounds):
            row, alone = asyncio.run(in_a_row(socket, prompts(number), tokens))
            together, batched = asyncio.run(at_once(socket, prompts(number), tokens))
            ratios.append(together / row)
            equal += sum(one == other for one, other in zip(alone, batched, strict=True))
            total += len(alone)
            print(
                f"  round {number + 1}: in a row {row:8.1f} tok/s, at once {together:8.1f}, x{together / row:.2f}"
            )
    ratio = statistics.median(ratios)
    print(
        f"  {path.name}: x{ratio:.2f} (median); greedy answers equal to the unbatched ones: {equal}/{total}"
    )
    return ratio


def decoding_us(path: Path, tokens: int, threads: int) -> float:
    """Return microseconds per token of decoding and sampling alone, in this process, one sequence."""
    model = Model(path)
    context = Context(model, cells=1024, batch=512, sequences=1, threads=threads)
    prompt = model.tokenize("Round 0", add_bos=True)
    sampler = make_sampler(model, SamplingParams(temperature=0, ignore_eos=True), prompt)
    row = context.add(prompt, start=0, sequence=0, wanted=True)
    context.decode()
    began = time.perf_counter()
    for position in range(len(prompt), len(prompt) + tokens):
        token = sampler.sample(context, row)
        row = context.add([token or 0], start=position, sequence=0, wanted=True)
        context.decode()
    return (time.perf_counter() - began) / tokens * 1e6


def serving_cost(path: Path, *, rounds: int, tokens: int, threads: int) -> None:
    """Print what a streamed token costs on a model that itself costs next to nothing."""
    costs = []
    with worker(path, context=1000, parallel=1, threads=threads) as socket:
        for _ in range(rounds):
            alone = decoding_us(path, tokens, threads)
            began = time.perf_counter()
            asyncio.run(complete(socket, "Round 0", tokens))
            served = (time.perf_counter() - began) / tokens * 1e6
            costs.append(served - alone)
            print(f"  decoding alone {alone:6.1f} us/token, streamed over the socket {served:6.1f}")
    print(f"  serving costs {statistics.median(costs):.1f} us/token (median)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help=f"exit with 1 where the ratio is under {RATIO}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=None, help="default: physical cores")
    parser.add_argument("--kind", choices=["q8_0", "f16"], default="f16")
    asked = parser.parse_args()
    print(f"{CLIENTS} requests in a row and at once, memory-bound model:")
    path = cached_model("memory-bound", MEMORY_BOUND, asked.kind)
    ratio = batching(path, rounds=asked.rounds, tokens=asked.tokens, threads=asked.threads)
    print("the same on a tiny model, where Python's share shows:")
    tiny = cached_model("tiny", TINY, "f16")
    batching(tiny, rounds=asked.rounds, tokens=256, threads=1)
    print("cost per streamed token, 1 client, tiny model:")
    serving_cost(tiny, rounds=asked.rounds, tokens=900, threads=1)
    if asked.check and ratio < RATIO:
        print(f"FAILED: x{ratio:.2f} is under x{RATIO}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
