"""The errors of the request path, in words for the client."""

import math
from datetime import datetime
from http import HTTPStatus
from typing import Final

from orchestrator.errors import RequestError
from orchestrator.gateway.models import status
from orchestrator.values.choice import Refusal
from orchestrator.values.routing import Route

# A guess, for models whose load has not been measured yet.
RETRY_AFTER_S: Final = 5
# Where a load is all that is missing; a download, or a wait for memory, may take anything.
ONLY_LOADS: Final = ("loading", "unloaded")
# The status that nginx made known for it; it is recorded and never sent.
CLIENT_LEFT: Final = 499


def not_selected(refusal: Refusal) -> RequestError:
    """Return the answer where the selector found no model (400, 403, 404, 503)."""
    return RequestError(
        refusal.what,
        status=refusal.status,
        code=refusal.code,
        fix=refusal.fix,
        param=None if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE else "model",
    )


def not_ready(route: Route, now: datetime, waited_s: float) -> RequestError:
    """Return the answer where a model was waited for in vain (503)."""
    return RequestError(
        f"model '{route.model}' is not ready after {waited_s:g} s: {_state(route, now)}",
        status=503,
        code="model_not_ready",
        fix=f"try again, or see `orchestrator describe {route.model}`",
        retry_after_s=retry_after_s(route, now),
    )


def nothing_known(waited_s: float) -> RequestError:
    """Return the answer where the files have still not been read (503)."""
    return RequestError(
        f"the daemon has not read its files after {waited_s:g} s",
        status=503,
        code="not_started",
        fix="try again, or see the daemon's log",
        retry_after_s=RETRY_AFTER_S,
    )


def queue_full(route: Route, now: datetime, waiting: int) -> RequestError:
    """Return the answer where too many requests wait for a model (503)."""
    return RequestError(
        f"model '{route.model}' is not ready: {_state(route, now)}; {waiting} requests wait already",
        status=503,
        code="queue_full",
        fix="try again later, or raise `wait_queue:` in orchestrator.yaml",
        retry_after_s=retry_after_s(route, now),
    )


def does_not_answer(model: str, waited_s: float) -> RequestError:
    """Return the answer where a ready worker took no connection (503)."""
    return RequestError(
        f"model '{model}' is not ready after {waited_s:g} s: its worker does not answer",
        status=503,
        code="model_not_ready",
        fix=f"try again, or see `orchestrator describe {model}`",
        retry_after_s=RETRY_AFTER_S,
    )


def retry_after_s(route: Route, now: datetime) -> int:
    """Return after how many seconds the model should be ready, as far as that is known; at least 1."""
    if route.load_s is None and route.retry_at is None:
        return RETRY_AFTER_S
    held_back_s = max(0.0, (route.retry_at - now).total_seconds()) if route.retry_at else 0.0
    known_s = max(1, math.ceil(held_back_s + (route.load_s or 0.0)))
    return max(known_s, RETRY_AFTER_S) if status(route, now) == "fetching" else known_s


def _state(route: Route, now: datetime) -> str:
    """Return what the model is doing instead of serving, and how long that should take."""
    if route.load_s is None or status(route, now) not in ONLY_LOADS:
        return route.unready
    return f"{route.unready} (expected {retry_after_s(route, now)} s more)"


def died(model: str, tries: int) -> RequestError:
    """Return the answer where no worker lived to answer the request (502)."""
    return RequestError(
        f"the worker of model '{model}' died"
        + (f" each of the {tries} times that it had this request" if tries > 1 else " while it answered"),
        status=502,
        code="replica_died",
        fix=f"send the request again; the cause is in `orchestrator describe {model}`",
    )


def too_late(deadline_s: float) -> RequestError:
    """Return the answer where the request's deadline has passed (504)."""
    return RequestError(
        f"the answer was not complete after {deadline_s:g} s",
        status=504,
        code="deadline_exceeded",
        fix="ask for fewer tokens, or raise `request_deadline:` in orchestrator.yaml",
    )


def silent(silence_s: float) -> RequestError:
    """Return the answer where a stream stopped in its middle (504)."""
    return RequestError(
        f"the worker sent nothing for {silence_s:g} s in the middle of its answer",
        status=504,
        code="replica_hung",
        fix="send the request again; a worker that hangs is restarted",
    )


def slow_body(deadline_s: float) -> RequestError:
    """Return the answer where the client took the whole deadline to send its body (408)."""
    return RequestError(
        f"the body did not arrive within {deadline_s:g} s",
        status=408,
        code="body_too_slow",
        fix="send it faster",
    )


def internal(decision: str) -> RequestError:
    """Return the answer where an error that nobody foresaw (500)."""
    return RequestError(
        "the gateway failed; this is a bug",
        status=500,
        code="internal_error",
        fix=f"please report it with the daemon's log of decision {decision}",
    )
