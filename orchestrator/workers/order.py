"""What a parent and the guard of a command say to each other: one line of JSON each way."""

import json
from dataclasses import asdict, dataclass
from typing import Final

EXIT_NOT_STARTED: Final = 6  # the command could not be started; the guard's line says why
# In the environment of all that a guard starts: who looks for leftovers knows them by it.
MARK: Final = "ORCHESTRATOR_GUARD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a guard shall start: an argv, its whole environment, and the folder to start it in.

    `mark` is put into the environment as `MARK`. `grace_s` is what the command gets between SIGTERM and
    SIGKILL.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    mark: str
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The answer. `pid` of the command, 0 where it could not be started; then `error` says why."""

    pid: int
    error: str = ""


def encode_order(order: Order) -> bytes:
    """Return the line to write to the guard's standard input."""
    return json.dumps(asdict(order)).encode() + b"\n"


def decode_order(line: bytes) -> Order:
    """Read the line back.

    Raises:
        ValueError: it is not an order.
    """
    content = json.loads(line)
    try:
        return Order(**{**content, "argv": tuple(content["argv"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an order: {error!r}") from error


def encode_started(started: Started) -> bytes:
    """Return the line that the guard writes to its standard output."""
    return json.dumps(asdict(started)).encode() + b"\n"


def decode_started(line: bytes) -> Started:
    """Read the guard's line.

    Raises:
        ValueError: it is none, an empty line (the guard died first) included.
    """
    content = json.loads(line)
    try:
        return Started(pid=int(content["pid"]), error=str(content["error"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a guard's answer: {line[:80]!r}") from error
