"""An answer of Ollama's, line by line, into OpenAI's form. Pure but for the time and the id of an answer."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.engines.ollama.words import as_refusal
from orchestrator.errors import RequestError
from orchestrator.workers.answers import DONE, dump

_MS: Final = 1e6  # nanoseconds in one
_REASONS: Final = {"stop": "stop", "length": "length"}
# The server has done something to the model in place of answering.
_NO_ANSWER: Final = frozenset({"load", "unload"})


@dataclass
class Heard:
    """What has come of an answer so far."""

    text: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    end: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What one line brings."""

    text: str = ""
    thought: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text or self.thought or self.calls or self.logprobs)


class Listener:
    """Hears the lines of one answer to its end.

    Args:
        place: the server, for people.
    """

    def __init__(self, place: str) -> None:
        self.heard = Heard()
        self._place = place

    def line(self, line: bytes) -> Piece:
        """Take one line.

        Raises:
            RequestError: it says that the server has failed, or is none of an answer.
        """
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise self._failed("what it sends is not an answer")
        if said.get("error"):
            raise as_refusal(200, json.dumps({"error": said["error"]}), self._place)
        message = said.get("message") or {}
        piece = Piece(
            text=message.get("content") or said.get("response") or "",
            thought=message.get("thinking") or said.get("thinking") or "",
            calls=tuple(self._call(call) for call in message.get("tool_calls") or ()),
            logprobs=tuple(said.get("logprobs") or ()),
        )
        heard = self.heard
        heard.text.append(piece.text)
        heard.thought.append(piece.thought)
        heard.calls.extend(piece.calls)
        heard.logprobs.extend(piece.logprobs)
        if said.get("done"):
            if said.get("done_reason") in _NO_ANSWER:
                raise self._failed("it has (un)loaded the model in place of answering")
            heard.end = said
        return piece

    @property
    def finish(self) -> str:
        """OpenAI's finish_reason."""
        reason = str((self.heard.end or {}).get("done_reason") or "stop")
        return "tool_calls" if self.heard.calls else _REASONS.get(reason, "stop")

    def check_complete(self) -> None:
        """Return if the answer has come to its end.

        Raises:
            RequestError: the server has stopped in the middle of it. It does so without a word where a model
                repeats itself too often.
        """
        if self.heard.end is None:
            raise self._failed("the answer broke off: it ended without `done`")

    def usage(self, *, queue_ms: float) -> dict[str, Any]:
        """Return `usage` and `timings`; a count that is absent is 0, as Ollama leaves zeros out.

        `load_duration` is the time until the server has begun with the request, so it counts as waiting.
        """
        end = self.heard.end or {}
        prompt, made = int(end.get("prompt_eval_count") or 0), int(end.get("eval_count") or 0)
        made_ns = int(end.get("eval_duration") or 0)
        return {
            "usage": {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made},
            "timings": {
                "queue_ms": round(queue_ms + int(end.get("load_duration") or 0) / _MS, 3),
                "prompt_ms": round(int(end.get("prompt_eval_duration") or 0) / _MS, 3),
                "predicted_ms": round(made_ns / _MS, 3),
                "predicted_per_second": round(made * 1e9 / made_ns, 2) if made_ns else 0.0,
            },
        }

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = call.get("function") or {}
        arguments = function.get("arguments")
        return {
            "id": call.get("id") or f"call_{secrets.token_hex(8)}",
            "type": "function",
            "function": {
                "name": function.get("name") or "",
                "arguments": arguments if isinstance(arguments, str) else dump(arguments or {}).decode(),
            },
        }

    def _failed(self, what: str) -> RequestError:
        return RequestError(f"{self._place}: {what}", status=502, code="upstream_failed")


class Form:
    """OpenAI's form of one answer, in pieces or whole."""

    def __init__(self, model: str, *, legacy: bool) -> None:
        self._legacy = legacy
        self._head = {
            "id": f"{'cmpl' if legacy else 'chatcmpl'}-{secrets.token_hex(12)}",
            "object": "",
            "created": int(time.time()),
            "model": model,
        }
        self._calls = 0
        self._offset = 0

    def opening(self) -> bytes:
        """Return the chunk that opens a chat's stream; nothing for a plain completion."""
        return b"" if self._legacy else self._chunk({"role": "assistant", "content": ""})

    def piece(self, piece: Piece) -> bytes:
        """Return the chunks for what one line brought, nothing for a line that brought nothing."""
        if not piece:
            return b""
        if self._legacy:
            return self._chunk(piece.text, logprobs=piece.logprobs)
        delta: dict[str, Any] = {}
        if piece.thought:
            delta["reasoning_content"] = piece.thought
        if piece.text or not (piece.thought or piece.calls):
            delta["content"] = piece.text
        if piece.calls:
            delta["tool_calls"] = [{"index": self._calls + at, **call} for at, call in enumerate(piece.calls)]
            self._calls += len(piece.calls)
        return self._chunk(delta, logprobs=piece.logprobs)

    def closing(self, listener: Listener, *, queue_ms: float, usage: bool) -> bytes:
        """Return what ends a stream."""
        last = self._chunk("" if self._legacy else {}, finish=listener.finish)
        if usage:
            kind = "text_completion" if self._legacy else "chat.completion.chunk"
            counts = self._head | {"object": kind, "choices": []} | listener.usage(queue_ms=queue_ms)
            last += b"data: " + dump(counts) + b"\n\n"
        return last + DONE

    def whole(self, listener: Listener, *, queue_ms: float) -> bytes:
        """Return the answer in one piece."""
        heard = listener.heard
        said: dict[str, Any] = {"index": 0}
        if self._legacy:
            said["text"] = "".join(heard.text)
        else:
            text = "".join(heard.text)
            message: dict[str, Any] = {"role": "assistant", "content": text or (None if heard.calls else "")}
            message["refusal"] = None
            if any(heard.thought):
                message["reasoning_content"] = "".join(heard.thought)
            if heard.calls:
                message["tool_calls"] = heard.calls
            said["message"] = message
        said |= {"logprobs": self._logprobs(heard.logprobs), "finish_reason": listener.finish}
        kind = "text_completion" if self._legacy else "chat.completion"
        return dump(self._head | {"object": kind, "choices": [said]} | listener.usage(queue_ms=queue_ms))

    def _chunk(
        self, delta: object, *, logprobs: Sequence[Mapping[str, Any]] = (), finish: str | None = None
    ) -> bytes:
        choice: dict[str, Any] = {"index": 0, "text" if self._legacy else "delta": delta}
        choice |= {"logprobs": self._logprobs(logprobs), "finish_reason": finish}
        kind = "text_completion" if self._legacy else "chat.completion.chunk"
        return b"data: " + dump(self._head | {"object": kind, "choices": [choice]}) + b"\n\n"

    def _logprobs(self, found: Sequence[Mapping[str, Any]]) -> object:
        if not found:
            return None
        if not self._legacy:
            return {"content": [{"top_logprobs": []} | dict(each) for each in found], "refusal": None}
        offsets = []
        for each in found:
            offsets.append(self._offset)
            self._offset += len(each["token"])
        return {
            "tokens": [each["token"] for each in found],
            "token_logprobs": [each["logprob"] for each in found],
            "top_logprobs": [
                {one["token"]: one["logprob"] for one in each.get("top_logprobs") or ()} for each in found
            ],
            "text_offset": offsets,
        }
