"""What an upstream says when it will not answer, in OpenAI's form and from our client's point of view.

Our client's key, model and path were right, or the gateway would have said so. So where the upstream takes
ours for wrong, that is a fault between the daemon and it (502), and the fix names the model's file.
"""

import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

from orchestrator import clock
from orchestrator.errors import EngineError, RequestError

MOST_MESSAGE: Final = 500
MOST_CODE: Final = 64
MOST_RETRY_AFTER_S: Final = 86_400
UNAVAILABLE_RETRY_S: Final = 5
# Statuses that say something about the request itself, so that they are the client's business.
_THE_CLIENT_S: Final = frozenset({400, 409, 413, 415, 422})
# Not HTTP's: Anthropic's, and Cloudflare's for an origin that does not answer.
_OVERLOADED: Final = frozenset({503, 529})
_LAST_STATUS: Final = 599
_LATE: Final = frozenset({408, 504, 522, 524})


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An upstream's error, whatever its shape was and however long. Fields are "" where it had none."""

    status: int
    message: str
    code: str = ""
    param: str = ""


def read(status: int, body: bytes) -> Said:
    """Read an error of any shape: OpenAI's, a text, FastAPI's, a list, a page, nothing."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return Said(status=status, message=_plain(body))
    return _of_json(status, content)


def in_answer(document: bytes) -> Said | None:
    """Return the error in what was sent as an answer, None where it is one; the mark is looked for first."""
    if b'"error"' not in document:
        return None
    try:
        content = json.loads(document)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not content.get("error"):
        return None
    code: Any = _fields(content["error"]).get("code")
    is_status = isinstance(code, int) and HTTPStatus.BAD_REQUEST <= code <= _LAST_STATUS
    return _of_json(int(code) if is_status else HTTPStatus.BAD_GATEWAY, content)


def as_refusal(said: Said, place: str, retry_after: str = "") -> RequestError:
    """Return what the client is told.

    Args:
        said: what the upstream said, free of secrets.
        place: its host and port.
        retry_after: its header of that name.
    """
    said = _cut(said)
    status = said.status
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        # The upstream's words are left out: some repeat the key.
        return RequestError(
            f"{place} refuses the daemon's key (status {status})",
            status=502,
            code="upstream_auth",
            fix="correct `api_key` in the model's file",
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        what = said.message or "too many requests"
        after = _seconds(retry_after)
        code = said.code or "rate_limit_exceeded"
        return RequestError(f"{place}: {what}", status=429, code=code, retry_after_s=after)
    if status in _THE_CLIENT_S:
        what = said.message or f"the request was refused with status {status}"
        return RequestError(
            what, status=status, code=said.code or "upstream_refused", param=said.param or None
        )
    return _fault(said, place, retry_after)


def unreachable(error: EngineError) -> RequestError:
    """Return the answer where no connection could be made; there a second try may find another."""
    return RequestError(
        error.what, status=503, code="upstream_unreachable", fix=error.fix, retry_after_s=UNAVAILABLE_RETRY_S
    )


def broken(place: str, why: str) -> RequestError:
    """Return the answer where the upstream did not keep to the protocol, or left in the middle."""
    return RequestError(
        f"{place} {why}",
        status=502,
        code="upstream_broken",
        fix="send the request again; see the upstream's log",
    )


def _fault(said: Said, place: str, retry_after: str) -> RequestError:
    status = said.status
    what = f"{place} answers with status {status}" + (f": {said.message}" if said.message else "")
    if status in _OVERLOADED:
        after = _seconds(retry_after) or UNAVAILABLE_RETRY_S
        return RequestError(what, status=503, code="upstream_overloaded", retry_after_s=after)
    if status in _LATE:
        return RequestError(what, status=504, code="upstream_timeout")
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        fix = "correct `endpoint` (it usually ends in /v1) or `source` in the model's file"
        return RequestError(what, status=502, code="upstream_not_found", fix=fix)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        fix = "write the address that it redirects to as `endpoint` in the model's file"
        return RequestError(what, status=502, code="upstream_redirect", fix=fix)
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return RequestError(what, status=502, code="upstream_unpaid", fix="see to the account's credit")
    return RequestError(what, status=502, code="upstream_error")


def _of_json(status: int, content: object) -> Said:
    if isinstance(content, list) and content:
        content = content[0]  # Gemini's
    fields = _fields(content)
    inner = fields.get("error", content)
    if isinstance(inner, str):
        return Said(status=status, message=_tidy(inner))
    error = _fields(inner)
    message = error.get("message") or error.get("msg") or _details(fields.get("detail"))
    code = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
    param = error.get("param")
    return Said(
        status=status,
        message=_tidy(message if isinstance(message, str) else ""),
        code=code if isinstance(code, str) else "",
        param=param if isinstance(param, str) else "",
    )


def _details(detail: object) -> str:
    """Return FastAPI's `detail`: a text, or one object per field at fault."""
    if isinstance(detail, str):
        return detail
    faults = (_fields(each) for each in detail) if isinstance(detail, list) else ()
    return "; ".join(f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('msg', '')}" for each in faults)


def _plain(body: bytes) -> str:
    text = body.decode(errors="replace").strip()
    return "" if text.startswith("<") else _tidy(text)  # a page says nothing to a program


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _cut(said: Said) -> Said:
    """Return it in the length in which it is shown: by now nothing can be left of a secret that is cut."""
    message = said.message
    return Said(
        status=said.status,
        message=message if len(message) <= MOST_MESSAGE else message[:MOST_MESSAGE] + "…",
        code=said.code[:MOST_CODE],
        param=said.param[:MOST_CODE],
    )


def _seconds(retry_after: str) -> int | None:
    if retry_after.isascii() and retry_after.isdigit():
        return min(int(retry_after[:9]), MOST_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(retry_after)
        left = (at - clock.now()).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(int(left), 1), MOST_RETRY_AFTER_S)


def _fields(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
