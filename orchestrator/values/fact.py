"""Rows of history."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFact:
    """One request, after its end.

    `at` is the instant it arrived, UTC. `endpoint` is the last part of the
    path: chat, completions, embeddings. `requested` is the `model` of the
    body as sent; `model` and `revision` what served it, "" where nothing did.
    `status` is the HTTP status, 499 where the client left first. `error` is
    the error's code, "" for none. Times are in milliseconds since arrival,
    None where the moment never came: `queue_ms` until a decoding slot was
    given, `ttft_ms` until the first byte of the answer, `total_ms` until the
    last. Token counts are None where the engine did not report them.
    """

    at: datetime
    decision: str
    endpoint: str
    requested: str
    model: str
    revision: str
    replica: str
    policy: str
    why: str
    stream: bool
    status: int
    error: str
    queue_ms: float | None
    ttft_ms: float | None
    total_ms: float
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None


class Severity(StrEnum):
    NORMAL = "normal"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleFact:
    """One thing that happened to a model, a replica or the daemon (`model` "" for the daemon).

    `reason` is one CamelCase word, `message` a sentence, `generation` that of
    the model's file at the time (0 for the daemon).
    """

    at: datetime
    severity: Severity
    reason: str
    message: str
    model: str = ""
    revision: str = ""
    replica: str = ""
    generation: int = 0


Fact = RequestFact | LifecycleFact
