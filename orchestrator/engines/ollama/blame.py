"""Every error says which model it is about, and a server's refusal is an engine's error."""

from collections.abc import Awaitable
from typing import TypeVar

from orchestrator.engines.ollama.server import Server
from orchestrator.engines.ollama.trouble import Refused
from orchestrator.errors import EngineError, EngineUnavailable
from orchestrator.values.spec import ModelSpec

T = TypeVar("T")


class Placed:
    """Has every error say which model it is about."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EngineError):
            placed(error, self._spec)


def placed(error: EngineError, spec: ModelSpec) -> EngineError:
    """Return the error, which says now which model it is about."""
    error.where = error.where or spec.name
    return error


async def answered(asked: Awaitable[T], server: Server) -> T:
    """Have a server's refusal be an engine's error."""
    try:
        return await asked
    except Refused as refused:
        if refused.status in {401, 403}:
            raise EngineUnavailable(
                f"{server.url} refuses the daemon (status {refused.status})",
                fix="name the server by its address in `endpoint`, or correct `api_key`, in the model's file",
            ) from None
        raise EngineError(
            f"{server.url}: {refused.what or f'status {refused.status}'}", fix="see the Ollama server's log"
        ) from None
