"""Errors as answers, in OpenAI's form."""

from http import HTTPStatus
from typing import Any, Final

from orchestrator.errors import RequestError
from orchestrator.gateway.ports import Scope

Headers = list[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")

TYPES: Final = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
}


def error_body(error: RequestError) -> dict[str, Any]:
    """Return the error in OpenAI's form; the message holds the fix, as many clients show nothing else."""
    kind = "server_error" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    end = "" if error.what.endswith("?") else "."
    message = f"{error.what}{end} Fix: {error.fix}" if error.fix else error.what
    return {
        "error": {
            "message": message,
            "type": TYPES.get(HTTPStatus(error.status), kind),
            "param": error.param,
            "code": error.code,
        }
    }


def error_headers(error: RequestError) -> Headers:
    """Return the headers that belong to the error itself."""
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def draining() -> RequestError:
    """Return the answer to a request that comes after the daemon was told to stop."""
    return RequestError(
        "the daemon is shutting down",
        status=503,
        code="shutting_down",
        fix="try again in a moment",
        retry_after_s=2,
    )


def is_draining(scope: Scope) -> bool:
    """True where the server has marked the request as coming after its stop; see `gateway/server.py`."""
    return bool(scope.get("state", {}).get("draining"))
