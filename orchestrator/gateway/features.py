"""What a request says of itself for queues and rules, and how long its prompt is."""

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.decide.features import (
    LEAST_PRIORITY,
    MOST_PRIORITY,
    NO_FEATURES,
    Features,
    estimated_tokens,
)
from orchestrator.errors import RequestError

METADATA: Final = "metadata"
# Each may stand in the body's `metadata` or in a header of its own, which goes first.
HEADERS: Final = {
    "priority": b"x-orchestrator-priority",
    "task": b"x-orchestrator-task",
    "complexity": b"x-orchestrator-complexity",
}
LONGEST_TASK: Final = 64
SHOWN: Final = 40


def read(headers: Mapping[bytes, bytes], fields: Mapping[str, Any]) -> Features:
    """Return what the request says of itself; the length of its prompt is left out.

    Raises:
        RequestError: one of them makes no sense (400); the fix says what would.
    """
    metadata = fields.get(METADATA)
    given: dict[str, Any] = {}
    for name, header in HEADERS.items():
        if header in headers:
            given[name] = headers[header].decode("latin-1").strip()
        elif isinstance(metadata, dict) and metadata.get(name) is not None:
            given[name] = metadata[name]
    if not given:
        return NO_FEATURES
    return Features(
        priority=_priority(given["priority"]) if "priority" in given else NO_FEATURES.priority,
        task=_task(given["task"]) if "task" in given else "",
        complexity=_complexity(given["complexity"]) if "complexity" in given else None,
    )


def without_ours(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the body without what `read` took from its `metadata`.

    It is meant for us: OpenAI itself refuses metadata that is not text, or
    comes without `store`. What else is in there stays.
    """
    metadata = fields.get(METADATA)
    if not isinstance(metadata, dict) or metadata.keys().isdisjoint(HEADERS):
        return fields
    theirs = {name: value for name, value in metadata.items() if name not in HEADERS}
    rest = {name: value for name, value in fields.items() if name != METADATA}
    return rest | {METADATA: theirs} if theirs else rest


def prompt_tokens(fields: Mapping[str, Any]) -> int:
    """Return about how many tokens the prompt of a body has.

    Counts the text of messages, prompts and inputs; images, audio and tools
    count nothing, and tokens that are given as numbers one each.
    """
    characters = tokens = 0
    todo: list[Any] = [fields.get("messages"), fields.get("prompt"), fields.get("input")]
    while todo:
        part = todo.pop()
        if isinstance(part, str):
            characters += len(part)
        elif isinstance(part, int):
            tokens += 1
        elif isinstance(part, list):
            todo += part
        elif isinstance(part, dict):
            todo += (part.get("content"), part.get("text"))
    return tokens + estimated_tokens(characters)


def _priority(given: object) -> int:
    text = str(given)
    if isinstance(given, int | str) and text.isascii() and text.isdigit():
        value = int(text[:SHOWN])
        if LEAST_PRIORITY <= value <= MOST_PRIORITY:
            return value
    raise _bad("priority", given, f"a whole number from {LEAST_PRIORITY} to {MOST_PRIORITY}, 5 if left out")


def _complexity(given: object) -> float:
    if isinstance(given, int | float | str) and not isinstance(given, bool):
        try:
            value = float(given)
        except (ValueError, OverflowError):
            value = -1.0
        if 0.0 <= value <= 1.0:
            return value
    raise _bad("complexity", given, "a number from 0 to 1")


def _task(given: object) -> str:
    if isinstance(given, str) and 0 < len(given) <= LONGEST_TASK:
        return given
    raise _bad("task", given, f"a word such as code_generation, of at most {LONGEST_TASK} characters")


def _bad(name: str, given: object, wanted: str) -> RequestError:
    header = HEADERS[name].decode().title()
    return RequestError(
        f"the {name} of a request cannot be {repr(given)[:SHOWN]}",
        status=400,
        code=f"invalid_{name}",
        fix=f"give `{METADATA}.{name}` in the body, or the header {header}, {wanted}",
        param=f"{METADATA}.{name}",
    )
