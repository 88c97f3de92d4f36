"""Answers of the stand-in worker, and what becomes of them."""

import json

from tests.gateway.standin import Call

COUNTS = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
}
TIMINGS = {"queue_ms": 7.0, "predicted_per_second": 90.0}
ANSWER = {"id": "x", "choices": [{"message": {"content": "a"}}], "usage": COUNTS, "timings": TIMINGS}
TOKEN = b'data: {"id":"x","choices":[{"delta":{"content":"a"}}]}\n\n'
USAGE = (
    b"data: " + json.dumps({"id": "x", "choices": [], "usage": COUNTS, "timings": TIMINGS}).encode() + b"\n\n"
)
DONE = b"data: [DONE]\n\n"


async def plain(call: Call) -> None:
    await call.json(ANSWER)


async def streaming(call: Call) -> None:
    await call.stream(TOKEN, TOKEN[:20], TOKEN[20:] + USAGE[:40], USAGE[40:] + DONE)


async def never(call: Call) -> None:
    await call.left()


def check_cut(content: bytes, code: str) -> None:
    """One whole token, then one error event in OpenAI's form, and no end mark."""
    assert content.startswith(TOKEN)
    last = content.removeprefix(TOKEN)
    assert last.startswith(b"data: ")
    assert last.endswith(b"\n\n")
    assert json.loads(last[6:])["error"]["code"] == code
