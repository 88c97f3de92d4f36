"""What the batch thread is given to do, and what it hands back while it does it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from orchestrator.workers.slots import Slot
from orchestrator.workers.stops import TextFlow


class Finish(StrEnum):
    """Why an answer ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


class Closable(Protocol):
    """What chooses the tokens of one answer, as far as everybody needs to know it."""

    def close(self) -> None:
        """Free it; not to be used again."""


S = TypeVar("S", bound=Closable)


@dataclass(slots=True, eq=False, kw_only=True)
class Generation(Generic[S]):
    """One answer to be generated, by a runtime whose samplers are of type S.

    The batch thread owns it from `submit` until its last `Progress`. `prompt` is never empty; prompt and
    `max_tokens` together fit into the context. Instants are seconds of the monotonic clock, 0 for not yet.
    """

    prompt: list[int]
    max_tokens: int
    sampler: S
    text: TextFlow
    arrived_s: float
    admitted_s: float = 0.0
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    cached: int = 0
    generated: int = 0
    cancelled: bool = False
    slot: Slot | None = None
    pending: list[int] = field(default_factory=list)  # tokens not decoded yet
    row: int = -1  # of the last decode, where it asked for logits

    def take(self, piece: bytes | None, now_s: float) -> tuple[str, Finish | None]:
        """Take the bytes of the next token, None for the end; return what to send, and why it ended."""
        if not self.first_token_s:
            self.first_token_s = now_s
        self.last_token_s = now_s
        if piece is None:
            return self.text.close()[0], Finish.STOP
        self.generated += 1
        text, stopped = self.text.feed(piece)
        if stopped:
            return text, Finish.STOP
        if self.generated < self.max_tokens:
            return text, None
        rest, stopped = self.text.close()
        return text + rest, Finish.STOP if stopped else Finish.LENGTH


@dataclass(slots=True, eq=False, kw_only=True)
class Embedding:
    """Texts to be embedded, as tokens; `vectors` grows in their order, until the last `Progress`."""

    inputs: Sequence[list[int]]
    vectors: list[list[float]] = field(default_factory=list)
    cancelled: bool = False


Work = Generation[Any] | Embedding


@dataclass(frozen=True, slots=True)
class Progress:
    """Something new about one piece of work.

    `text` continues the answer. `ended` says that nothing more follows; then `error` holds the cause, ""
    where all went well, and `finish` the reason of a generation that did.
    """

    work: Work
    text: str = ""
    ended: bool = False
    finish: Finish = Finish.STOP
    error: str = ""
