"""`kill -9`, of the daemon and of a worker, at any moment."""

import asyncio
import contextlib
import json
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import duckdb
import psutil
import pytest

from tests.e2e.house import FAST, House, house

ROUNDS = 100
SEED = 20261120
BROKEN = "engine: llama-cpp\nsource: [\n"


def end_state(home: House) -> dict[str, Any]:
    """What must not depend on when the daemon was killed."""
    status = home.status()
    return {
        "ready": status["ready"],
        "problems": status["problems"],
        "history": status["history"]["ok"],
        "models": [
            {
                "name": model["name"],
                "source": model["source"],
                "serving": model["serving"]["revision"] if model["serving"] else None,
                "desired": model["desired"],
                "stable": model["stable"],
                "rejected": model["rejected"],
                "phases": [replica["phase"] for replica in model["replicas"]],
                "conditions": {c["type"]: c["status"] for c in model["conditions"]},
            }
            for model in status["models"]
        ],
    }


def serves(home: House, source: str) -> bool:
    """True once the one model serves what its file asks for, and nothing is under way."""
    (model,) = home.status()["models"]
    phases = [replica["phase"] for replica in model["replicas"]]
    serving = model["serving"]["revision"] if model["serving"] else None
    return model["source"] == source and serving == model["desired"] and phases == ["ready"]


def text(location: str) -> str:
    return FAST.replace("tiny", location)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_of_the_daemon_at_100_random_moments_changes_nothing(
    short_folder: Path, figure: Callable[[str], None]
) -> None:
    draw = random.Random(SEED)  # noqa: S311 (a repeatable storm)
    with house(short_folder, models={"fast": FAST}) as home:
        expected = undisturbed(home)
        home.start()
        location, killed_starting = "tiny", 0
        for number in range(ROUNDS):
            location = "small" if location == "tiny" else "tiny"
            home.write("models.d/fast.yaml", text(location))
            time.sleep(draw.random() * 1.2)
            home.kill()
            no_orphans(home)
            state_opens(home)
            if number % 5 == 4:
                # Also while it starts, before anybody could see anything of it.
                home.start(wait=False)
                time.sleep(draw.random() * 0.8)
                home.kill()
                no_orphans(home)
                killed_starting += 1
            home.start(wait=False)
            home.until(lambda: serves(home, f"demo:{location}"))  # noqa: B023 (called in this turn)
            assert end_state(home) == expected[location]
        home.stop()
        no_orphans(home)
        assert list(home.state.rglob("*corrupt*")) == []
        rows = history_rows(home)
        figure(f"{ROUNDS} kills in a swap, {killed_starting} while starting; {rows} events in the history")


def undisturbed(home: House) -> dict[str, dict[str, Any]]:
    """Return the end state after a swap to each location, with nobody killed."""
    found = {}
    home.start()
    for location in ("small", "tiny"):
        home.write("models.d/fast.yaml", text(location))
        home.until(lambda: serves(home, f"demo:{location}"))  # noqa: B023 (called in this turn)
        found[location] = end_state(home)
    assert home.stop() == 0
    return found


def no_orphans(home: House) -> None:
    end = time.monotonic() + 5
    while (left := home.workers()) and time.monotonic() < end:
        time.sleep(0.01)
    assert left == [], "a worker outlived its daemon"


def state_opens(home: House) -> None:
    with contextlib.closing(sqlite3.connect(home.state / "state.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def history_rows(home: House) -> int:
    with duckdb.connect(home.state / "history" / "history.duckdb", read_only=True) as connection:
        row = connection.execute("select count(*) from events").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.slow
def test_an_accepted_configuration_survives_kill_9_and_a_file_broken_meanwhile(home: House) -> None:
    home.start()
    home.write("models.d/fast.yaml", text("small"))
    home.until(lambda: home.model("fast")["source"] == "demo:small")
    generation = home.model("fast")["generation"]
    home.kill()
    home.write("models.d/fast.yaml", BROKEN)
    home.start()
    fast = home.model("fast")
    assert (fast["source"], fast["generation"]) == ("demo:small", generation)
    assert fast["serving"]["revision"] == fast["desired"]
    accepted = next(c for c in fast["conditions"] if c["type"] == "Accepted")
    assert accepted["status"] == "False"
    assert accepted["message"].startswith("models.d/fast.yaml:")
    home.write("models.d/fast.yaml", text("small"))
    home.until(lambda: home.status()["problems"] == [])
    assert home.model("fast")["generation"] == generation


def test_a_second_daemon_on_the_same_state_folder_is_refused_in_one_clear_line(home: House) -> None:
    home.start()
    twin = House(root=home.root)
    refused = home.run("run", "--config", str(home.config), "--port", str(twin.port))
    assert refused.returncode == 1
    assert "another daemon already runs on this state folder" in refused.stderr
    assert str(home.process.pid if home.process else 0) in refused.stderr
    assert "fix:" in refused.stderr
    assert home.chat("fast", "hi")[0] == 200


def test_a_killed_worker_is_noticed_and_replaced_and_costs_no_other_model_anything(
    home: House, figure: Callable[[str], None]
) -> None:
    home.start()
    rounds = asyncio.run(kill_workers(home, 10))
    noticed = sorted(ms for ms, _, _ in rounds)
    ready = sorted(s for _, s, _ in rounds)
    assert all(whole for _, _, whole in rounds), "the other model's stream was touched"
    figure(
        f"noticed after {noticed[len(noticed) // 2]:.0f} ms (most {noticed[-1]:.0f}), "
        f"ready again after {ready[len(ready) // 2]:.2f} s (most {ready[-1]:.2f})"
    )


async def kill_workers(home: House, rounds: int) -> list[tuple[float, float, bool]]:
    found = []
    async with aiohttp.ClientSession() as session:
        for _ in range(rounds):
            async with asyncio.TaskGroup() as tasks:
                other = tasks.create_task(long_stream(session, home.port, "quality"))
                await asyncio.sleep(0.05)
                noticed_ms, ready_s = await asyncio.to_thread(kill_once, home)
            found.append((noticed_ms, ready_s, other.result()))
    return found


async def long_stream(session: aiohttp.ClientSession, port: int, model: str) -> bool:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Count from 1 to 5"}],
        "max_tokens": 450,
        "ignore_eos": True,
        "stream": True,
        "temperature": 0,
        "stream_options": {"include_usage": True},
    }
    async with session.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body) as response:
        whole = await response.text()
    chunks = [json.loads(line[6:]) for line in whole.splitlines() if line.startswith("data: {")]
    return "data: [DONE]" in whole and chunks[-1]["usage"]["completion_tokens"] == 450


def kill_once(home: House) -> tuple[float, float]:
    """Kill the worker of `fast`; return when it was noticed (ms) and replaced (s)."""
    replica = home.model("fast")["replicas"][0]
    psutil.Process(replica["pid"]).kill()
    killed = time.monotonic()
    noticed = None
    while True:
        replicas = home.model("fast")["replicas"]
        if noticed is None and replica["id"] not in {r["id"] for r in replicas}:
            noticed = time.monotonic()
        if noticed is not None and any(r["phase"] == "ready" for r in replicas):
            break
        assert time.monotonic() - killed < 30
        time.sleep(0.002)
    assert home.chat("fast", "Uppercase abc")[0] == 200
    # Let a minute's worth of steadiness pass in the books: a crash loop is another test's business.
    home.admin("POST", "/v1/reload", {"wait_s": 5})
    return (noticed - killed) * 1000, time.monotonic() - killed
