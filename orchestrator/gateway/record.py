"""What is known about one request so far: its answer's headers, and in the end its row of history."""

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from orchestrator.values.choice import Choice
from orchestrator.values.fact import RequestFact
from orchestrator.values.routing import Route
from orchestrator.values.spec import ModelState

Headers = list[tuple[bytes, bytes]]

MAX_HEADER_CHARACTERS: Final = 200
HEADER_NAMES: Final = (
    "x-orchestrator-model",
    "x-orchestrator-revision",
    "x-orchestrator-policy",
    "x-orchestrator-decision",
    "x-orchestrator-why",
    "x-request-id",  # the decision again, under the name that OpenAI's clients show
)
ENCODED_NAMES: Final = tuple(name.encode() for name in HEADER_NAMES)
UNPRINTABLE: Final = re.compile(r"[^ -~]")


@dataclass(slots=True, kw_only=True)
class Record:
    """One request under way; owned by the task that serves it.

    `started_s` is the instant of arrival on the monotonic clock. Everything
    else has the meaning it has in RequestFact.
    """

    at: datetime
    started_s: float
    endpoint: str
    decision: str = field(default_factory=lambda: secrets.token_hex(8))
    requested: str = ""
    model: str = ""
    revision: str = ""
    replica: str = ""
    policy: str = ""
    why: str = ""
    deprecated: bool = False
    stream: bool = False
    status: int = 0
    error: str = ""
    queue_ms: float | None = None
    ttft_ms: float | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)

    def chosen(self, choice: Choice, route: Route) -> None:
        """Note what is to serve the request; the last call counts."""
        self.model = choice.model
        self.policy = choice.policy
        self.why = choice.why
        if choice.passed_over:
            self.why += f" (passed over: {'; '.join(f'{name}: {why}' for name, why in choice.passed_over)})"
        self.revision = route.revision or ""
        self.replica = route.replica or ""
        self.deprecated = route.state is ModelState.DEPRECATED

    def headers(self) -> Headers:
        """Return the headers every answer carries; what is not known is empty."""
        values = (self.model, self.revision, self.policy, self.decision, self.why, self.decision)
        headers = [(name, _header(value)) for name, value in zip(ENCODED_NAMES, values, strict=True)]
        if self.deprecated:
            headers.append((b"deprecation", b"true"))
        return headers

    def ms_since_arrival(self, now_s: float) -> float:
        return (now_s - self.started_s) * 1000

    def fact(self, now_s: float) -> RequestFact:
        """Return the request's row of history, as of its end at `now_s`."""
        slot_ms = _number(self.timings.get("queue_ms"))
        waited_ms = self.queue_ms
        details = self.usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        return RequestFact(
            at=self.at,
            decision=self.decision,
            endpoint=self.endpoint,
            requested=self.requested,
            model=self.model if self.revision else "",
            revision=self.revision,
            replica=self.replica,
            policy=self.policy,
            why=self.why,
            stream=self.stream,
            status=self.status,
            error=self.error,
            queue_ms=None if slot_ms is None or waited_ms is None else waited_ms + slot_ms,
            ttft_ms=self.ttft_ms,
            total_ms=self.ms_since_arrival(now_s),
            prompt_tokens=_count(self.usage.get("prompt_tokens")),
            cached_tokens=_count(cached),
            completion_tokens=_count(self.usage.get("completion_tokens")),
        )


def _header(text: str) -> bytes:
    """Return `text` as a header may have it: short, printable ASCII."""
    return UNPRINTABLE.sub("?", text[:MAX_HEADER_CHARACTERS]).strip().encode()


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
