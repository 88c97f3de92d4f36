"""What Ollama says when something fails, in words for people. Pure.

Its errors are texts, often with another error's JSON inside, and their statuses say little: a wrong option is
a 500, and a download that failed is a 200. So the words decide.
"""

import json
import re
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import RequestError

_DEPTH: Final = 4
_MOST: Final = 600
BUSY_RETRY_S: Final = 2
# `registry.ollama.ai/library/small:latest` says no more than `small`.
_FULL_NAME: Final = re.compile(r"registry\.ollama\.ai/(?:library/)?([\w.-]+(?:/[\w.-]+)?)(?::latest\b)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sort:
    """How errors that hold `mark` are told to the client."""

    mark: str
    status: int
    code: str
    param: str | None = None
    fix: str = ""


_FIX_CONTEXT: Final = "shorten the request, or raise `context` in the model's file"
# In this order; the first that fits.
_SORTS: Final = (
    _Sort(mark="exceeds the available context", status=400, code="context_length_exceeded", fix=_FIX_CONTEXT),
    _Sort(
        mark="prompt is longer than the context", status=400, code="context_length_exceeded", fix=_FIX_CONTEXT
    ),
    _Sort(mark="exceeds the context length", status=400, code="context_length_exceeded", fix=_FIX_CONTEXT),
    _Sort(mark="does not support tools", status=400, code="unsupported_parameter", param="tools"),
    _Sort(
        mark="does not support thinking", status=400, code="unsupported_parameter", param="reasoning_effort"
    ),
    _Sort(mark="think value", status=400, code="unsupported_parameter", param="reasoning_effort"),
    _Sort(mark="does not support insert", status=400, code="unsupported_parameter", param="suffix"),
    _Sort(mark="does not support chat", status=400, code="unsupported_operation"),
    _Sort(mark="does not support generate", status=400, code="unsupported_operation"),
    _Sort(mark="does not support embeddings", status=400, code="unsupported_operation"),
    _Sort(mark="image input is not supported", status=400, code="unsupported_content", param="messages"),
    _Sort(mark="does not support multimodal", status=400, code="unsupported_content", param="messages"),
    _Sort(mark="invalid format", status=400, code="unsupported_schema", param="response_format"),
    _Sort(mark="JSON schema", status=400, code="unsupported_schema", param="response_format"),
    _Sort(mark="failed to parse grammar", status=400, code="unsupported_schema", param="response_format"),
)


def said_in(body: bytes | str) -> str:
    """Return the message of an error's body, taken out of all JSON that it is wrapped in."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    for _ in range(_DEPTH):
        inner = _inner(text)
        if inner is None:
            break
        text = inner
    return _FULL_NAME.sub(r"\1", " ".join(text.split()))[:_MOST]


def as_refusal(status: int, body: bytes | str, place: str) -> RequestError:
    """Return what a client is told of an error.

    Args:
        status: the answer's; 200 for an error in the middle of a stream.
        body: the answer's, or the text of the error.
        place: the server, for people.
    """
    message = said_in(body)
    for sort in _SORTS:
        if sort.mark.lower() in message.lower():
            return RequestError(message, status=sort.status, code=sort.code, param=sort.param, fix=sort.fix)
    if status == 400:  # noqa: PLR2004 (Bad Request: what it says is about the request)
        return RequestError(message or "the request was refused", status=400, code="upstream_refused")
    if status == 503:  # noqa: PLR2004 (its queue is full)
        what = f"{place}: {message or 'the server is busy'}"
        return RequestError(what, status=503, code="upstream_busy", retry_after_s=BUSY_RETRY_S)
    if status in {401, 403}:
        return RequestError(
            f"{place} refuses the daemon (status {status})",
            status=502,
            code="upstream_auth",
            fix="name the server by its address in `endpoint`, or correct `api_key`, in the model's file",
        )
    return RequestError(
        f"{place}: {message or f'the server failed with status {status}'}", status=502, code="upstream_failed"
    )


def _inner(text: str) -> str | None:
    """Return the message inside of a JSON text, None where it is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for key in ("error", "message"):
        value = found.get(key) if isinstance(found, dict) else None
        if isinstance(value, str):
            return value
        if isinstance(value, dict):
            return json.dumps(value)
    return None
