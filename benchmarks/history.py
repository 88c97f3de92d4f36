"""What the history costs: `python benchmarks/history.py [ROWS]`; prints the table of docs/history.md#cost."""

import asyncio
import random
import statistics
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from orchestrator.history.sandbox import query
from orchestrator.history.writer import HistoryWriter
from orchestrator.values.fact import RequestFact

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def fact(number: int, dice: random.Random) -> RequestFact:
    model = dice.choice(("primary", "fast", "quality", "coder"))
    ttft_ms = dice.lognormvariate(5, 0.6)
    return RequestFact(
        at=BEGIN + timedelta(milliseconds=250 * number),
        decision=uuid.UUID(int=dice.getrandbits(128)).hex[:16],
        endpoint="chat",
        requested=dice.choice((model, "auto")),
        model=model,
        revision=f"{model}-{number // 100_000:04x}",
        replica=f"{model}-{number // 5000}",
        policy="default",
        why=f"{ttft_ms / 1000:.1f} s expected",
        stream=dice.random() < 0.8,
        status=200 if dice.random() < 0.99 else 503,
        error="",
        queue_ms=dice.expovariate(0.2),
        ttft_ms=ttft_ms,
        total_ms=ttft_ms + dice.lognormvariate(7, 0.8),
        prompt_tokens=dice.randrange(4000),
        cached_tokens=dice.randrange(2000),
        completion_tokens=dice.randrange(1000),
    )


def say(what: str, costs_s: list[float]) -> None:
    costs_ms = sorted(1000 * cost for cost in costs_s)
    p95 = costs_ms[int(0.95 * (len(costs_ms) - 1))]
    print(f"{what:44s} p50 {statistics.median(costs_ms):9.4f} ms   p95 {p95:9.4f} ms   n {len(costs_ms)}")


def timed(costs_s: list[float], began: float) -> None:
    costs_s.append(time.perf_counter() - began)


async def publications(writer: HistoryWriter, dice: random.Random, what: str) -> None:
    costs: list[float] = []
    for number in range(15):
        writer.put(fact(number, dice))
        began = time.perf_counter()
        await writer.publish(60)
        timed(costs, began)
    say(what, costs)


async def one_by_one(writer: HistoryWriter, dice: random.Random) -> None:
    """500 facts a second, as the relay would put them."""
    puts: list[float] = []
    flushes: list[float] = []
    pool = [fact(number, dice) for number in range(100)]
    for _ in range(50):
        for one in pool:
            began = time.perf_counter()
            writer.put(one)
            timed(puts, began)
        began = time.perf_counter()
        await writer.flush(60)
        timed(flushes, began)
        await asyncio.sleep(0.2)
    say("put", puts)
    say("flush of 100 facts", flushes)


async def in_bulk(writer: HistoryWriter, dice: random.Random, rows: int) -> None:
    began = time.perf_counter()
    for number in range(rows):
        writer.put(fact(number, dice))
        if number % 5000 == 4999:
            await writer.flush(60)
        if number % 100_000 == 99_999:
            await writer.publish(60)
    await writer.publish(60)
    print(f"{rows:,} facts made and stored: {rows / (time.perf_counter() - began):,.0f} a second")


async def questions(db: Path) -> None:
    for sql in (
        "select 1",
        "from by_model",
        "select model, count(*), avg(ttft_ms) from requests group by all",
    ):
        asks: list[float] = []
        for _ in range(10):
            began = time.perf_counter()
            await asyncio.to_thread(query, db, sql)
            timed(asks, began)
        say(f"sql: {sql[:39]}", asks)


async def measure(folder: Path, rows: int) -> None:
    dice = random.Random(1)  # noqa: S311 (the same facts each time)
    here = psutil.Process()
    before_mb = here.memory_info().rss / 1e6
    writer = HistoryWriter(folder)
    began = time.perf_counter()
    writer.start()
    say("start returns", [time.perf_counter() - began])
    await writer.flush(60)
    say("start to first row possible", [time.perf_counter() - began])
    await one_by_one(writer, dice)
    await publications(writer, dice, "publish, 5,000 rows")
    print(f"this process: {before_mb:.1f} MB before, {here.memory_info().rss / 1e6:.1f} MB now")
    for child in here.children():
        memory = child.memory_full_info()
        print(f"the keeper: {memory.rss / 1e6:.1f} MB resident, {memory.uss / 1e6:.1f} MB its own")
    await in_bulk(writer, dice, rows)
    await publications(writer, dice, f"publish, {rows:,} rows")
    print(f"file: {writer.status().path.stat().st_size / 1e6:.1f} MB; dropped: {writer.status().dropped}")
    await questions(writer.status().path)
    began = time.perf_counter()
    await asyncio.to_thread(writer.close, 60)
    say("close", [time.perf_counter() - began])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(measure(Path(scratch) / "history", int(sys.argv[1]) if sys.argv[1:] else 1_000_000))
