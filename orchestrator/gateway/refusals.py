"""The errors of the request path, in words for the client."""

from http import HTTPStatus

from orchestrator.errors import RequestError
from orchestrator.values.choice import Refusal

# A guess: how long a model takes to load is not measured yet.
RETRY_AFTER_S = 5
# The status that nginx made known for it; it is recorded and never sent.
CLIENT_LEFT = 499


def not_selected(refusal: Refusal) -> RequestError:
    """Return the answer where the selector found no model (400, 404, 503)."""
    return RequestError(
        refusal.what,
        status=refusal.status,
        code=refusal.code,
        fix=refusal.fix,
        param=None if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE else "model",
    )


def not_ready(model: str, why: str, waited_s: float) -> RequestError:
    """Return the answer where a model was waited for in vain (503)."""
    return RequestError(
        f"model '{model}' is not ready after {waited_s:.0f} s: {why or 'its worker does not answer'}",
        status=503,
        code="model_not_ready",
        fix=f"try again, or see `orchestrator describe {model}`",
        retry_after_s=RETRY_AFTER_S,
    )


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
