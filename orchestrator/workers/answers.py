"""OpenAI's answers: whole ones, streams of chunks, embeddings, errors."""

import base64
import json
import secrets
import time
from array import array
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any

from orchestrator.workers.work import Generation

DONE = b"data: [DONE]\n\n"
_FIRST, _LAST = '{"role":"assistant","content":""}', "{}"


def dump(content: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def error(message: str, *, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """Return an error object; `kind` is OpenAI's error.type."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Answer:
    """One answer to a chat or a plain completion, in pieces or whole.

    Everything around the text of a chunk is made once: per token there is one string to escape and join.
    """

    __slots__ = ("_head", "_id", "_middle", "_tail", "chat", "created", "model")

    def __init__(self, model: str, *, chat: bool) -> None:
        self.chat = chat
        self.model = model
        self.created = int(time.time())
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}"
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = dump({"id": self._id, "object": kind, "created": self.created, "model": model})[:-1].decode()
        self._head = f'data: {head},"choices":['
        self._middle = '{"index":0,"delta":' if chat else '{"index":0,"text":'
        self._tail = ',"logprobs":null,"finish_reason":null}]}\n\n'

    def opening(self) -> bytes:
        """Return the chunk that opens a chat's stream; nothing for a plain completion."""
        return f"{self._head}{self._middle}{_FIRST}{self._tail}".encode() if self.chat else b""

    def piece(self, text: str) -> bytes:
        """Return the chunk for some more text."""
        quoted = encode_basestring(text)
        inner = f'{{"content":{quoted}}}' if self.chat else quoted
        return f"{self._head}{self._middle}{inner}{self._tail}".encode()

    def closing(self, work: Generation[Any], finish: str, *, usage: bool) -> bytes:
        """Return the chunks that end a stream."""
        inner = _LAST if self.chat else '""'
        chunk = f'{self._head}{self._middle}{inner},"logprobs":null,"finish_reason":"{finish}"}}]}}\n\n'
        counts = dump(usage_of(work))[1:].decode()
        last = f"{self._head}],{counts}\n\n" if usage else ""
        return chunk.encode() + last.encode() + DONE

    def whole(self, work: Generation[Any], text: str, finish: str) -> dict[str, Any]:
        """Return the answer in one piece."""
        said: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.chat
            else {"text": text}
        )
        return {
            "id": self._id,
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0} | said | {"logprobs": None, "finish_reason": finish}],
        } | usage_of(work)


def usage_of(work: Generation[Any]) -> dict[str, Any]:
    """Return `usage`, and llama-server's `timings`. The token that ends an answer is not counted."""
    prompt, generated = len(work.prompt), work.generated
    decode_s = work.last_token_s - work.first_token_s
    rate = (generated - 1) / decode_s if decode_s > 0 and generated > 1 else 0.0
    return {
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": work.cached},
        },
        "timings": {
            "queue_ms": round((work.admitted_s - work.arrived_s) * 1e3, 3),
            "prompt_ms": round((work.first_token_s - work.admitted_s) * 1e3, 3),
            "predicted_ms": round(decode_s * 1e3, 3),
            "predicted_per_second": round(rate, 2),
        },
    }


def embeddings(
    model: str, vectors: Sequence[Sequence[float]], *, tokens: int, as_base64: bool
) -> dict[str, Any]:
    """Return the answer of /v1/embeddings; base64 holds little-endian float32."""
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()


def models(model: str, created: int) -> dict[str, Any]:
    """Return the answer of /v1/models."""
    entry = {"id": model, "object": "model", "created": created, "owned_by": "local"}
    return {"object": "list", "data": [entry]}
