"""The main job: a file is edited, and a running daemon swaps the model under live requests."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp
import pytest

from tests.e2e.house import FAST, House

SWAPS = 20
# 1 token of a demo model is 1 byte, so the length of a whole answer is known.
TOKENS = 120
# Each client has words of its own, so that an answer tells whom it was for.
PROMPTS = [
    f"Uppercase {word}" for word in ("apple", "bread", "chair", "dress", "eagle", "flour", "grape", "house")
]


@dataclass
class Answer:
    prompt: str
    sent_at: float
    status: int
    revision: str
    text: str
    finish: str | None
    done: bool
    usage: int | None


async def ask(session: aiohttp.ClientSession, url: str, prompt: str) -> Answer:
    body = {
        "model": "fast",
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    sent_at = time.monotonic()
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        text, finish, done, usage = "", None, False, None
        async for event in events(response):
            if event == "[DONE]":
                done = True
                continue
            chunk = json.loads(event)
            assert "error" not in chunk, chunk
            usage = chunk["usage"]["completion_tokens"] if chunk.get("usage") else usage
            for choice in chunk.get("choices", ()):
                text += choice["delta"].get("content") or ""
                finish = choice["finish_reason"] or finish
        return Answer(
            prompt=prompt,
            sent_at=sent_at,
            status=response.status,
            revision=response.headers["X-Orchestrator-Revision"],
            text=text,
            finish=finish,
            done=done,
            usage=usage,
        )


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield line[6:].decode().strip()


@pytest.mark.slow
def test_20_swaps_under_8_streaming_clients_lose_nothing(home: House, figure: Callable[[str], None]) -> None:
    home.start()
    revisions = {"tiny": home.model("fast")["desired"]}
    home.write("models.d/fast.yaml", FAST.replace("tiny", "small"))
    home.until(lambda: home.model("fast")["serving"]["revision"] != revisions["tiny"])
    revisions["small"] = home.model("fast")["desired"]
    alone = {(revisions["small"], p): natural(home, p) for p in PROMPTS}
    home.write("models.d/fast.yaml", FAST)
    home.until(lambda: home.model("fast")["serving"]["revision"] == revisions["tiny"])
    alone |= {(revisions["tiny"], p): natural(home, p) for p in PROMPTS}
    assert len({(revision, text) for (revision, _), text in alone.items()}) == len(alone), (
        "answers tell apart"
    )
    answers, switches = asyncio.run(storm(home, revisions))

    assert len(switches) == SWAPS
    failed = [a for a in answers if a.status != 200 or not a.done or a.finish != "length"]
    assert failed == []
    # Not cut: every token that was asked for is there. An undecodable byte counts as one character.
    assert {a.usage for a in answers} == {TOKENS}
    # Not mixed up: each begins with what this revision answers to this prompt when it is asked alone.
    mixed = [a for a in answers if not a.text.startswith(alone[a.revision, a.prompt])]
    assert mixed == []
    # No request sent after the switch is served by the old one.
    for switched_at, revision, until in intervals(switches):
        late = [a for a in answers if switched_at <= a.sent_at < until and a.revision != revision]
        assert late == []
    assert {a.revision for a in answers} == set(revisions.values())
    figure(
        f"{len(answers)} whole answers of {TOKENS} tokens over {SWAPS} swaps, none failed, cut or mixed up"
    )


def natural(home: House, prompt: str) -> str:
    """Return the answer as the model would end it, asked alone."""
    answer = home.chat("fast", prompt, max_tokens=TOKENS)[2]["choices"][0]
    assert answer["finish_reason"] == "stop"
    return str(answer["message"]["content"])


def intervals(switches: list[tuple[float, str, float]]) -> list[tuple[float, str, float]]:
    """From the moment a switch was seen until the next edit was begun."""
    ends = [began for _, _, began in switches[1:]] + [float("inf")]
    return [(seen, revision, end) for (seen, revision, _), end in zip(switches, ends, strict=True)]


async def storm(
    home: House, revisions: dict[str, str]
) -> tuple[list[Answer], list[tuple[float, str, float]]]:
    url = f"http://127.0.0.1:{home.port}"
    stop = asyncio.Event()
    answers: list[Answer] = []
    switches: list[tuple[float, str, float]] = []

    async def client(session: aiohttp.ClientSession, prompt: str) -> None:
        while not stop.is_set():
            answers.append(await ask(session, url, prompt))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
        for prompt in PROMPTS:
            tasks.create_task(client(session, prompt))
        for swap in range(SWAPS):
            location = ("tiny", "small")[swap % 2]
            began = time.monotonic()
            home.write("models.d/fast.yaml", FAST.replace("tiny", location))
            await until_served(session, url, revisions[location])
            switches.append((time.monotonic(), revisions[location], began))
            await asyncio.sleep(0.2)
        stop.set()
    return answers, switches


async def until_served(session: aiohttp.ClientSession, url: str, revision: str) -> None:
    for _ in range(3000):
        async with session.get(f"{url}/v1/models/fast") as response:
            if (await response.json())["revision"] == revision:
                return
        await asyncio.sleep(0.02)
    raise TimeoutError(revision)
