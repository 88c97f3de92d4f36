"""The admin API: what the command line speaks, on a private Unix socket."""

import asyncio
import json
import logging
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from orchestrator.config.paths import private_folder
from orchestrator.errors import ModelUnknown, OrchestratorError, StateError
from orchestrator.gateway.ports import App, Receive, Scope, Send
from orchestrator.gateway.server import serve

log = logging.getLogger(__name__)

Json = dict[str, Any]

MOST_BODY_BYTES: Final = 64 * 1024
MOST_SECONDS: Final = 24 * 3600
DRAIN_S: Final = 2.0
# How often somebody looks whether the socket's file is still there.
LOOK_EVERY_S: Final = 2.0


class Operations(Protocol):
    """What an operator may ask of the daemon; every answer is ready for JSON."""

    async def status(self) -> Json: ...
    async def describe(self, name: str) -> Json:
        """Return one model; raise ModelUnknown where there is none."""

    async def reload(self, wait_s: float | None) -> Json: ...
    async def plan(self, folder: str | None) -> Json: ...
    async def doctor(self) -> Json: ...
    async def publish(self) -> Json: ...
    async def confirm_removal(self) -> Json: ...


class BadBody(OrchestratorError):
    pass


STATUS_OF: Final[dict[type[OrchestratorError], int]] = {ModelUnknown: 404, BadBody: 400}


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at `path`, for its owner only.

    A socket file that a daemon left behind is replaced: the caller holds the
    lock of the state folder, so nobody can be listening on it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
    except OSError as error:
        listener.close()
        raise StateError(
            f"the admin socket cannot be made: {error.strerror or error}",
            where=str(path),
            fix="give this user write permission to its folder",
        ) from error
    listener.setblocking(False)  # noqa: FBT003 (the library's signature)
    return listener


async def serve_admin(
    operations: Operations, path: Path, bound: socket.socket | None, stop: asyncio.Event
) -> None:
    """Serve the admin API until `stop`; a socket whose file was taken away is made anew.

    Logging out or cleaning up may remove the runtime folder, and nobody could
    reach a daemon that is otherwise well.

    Args:
        operations: what answers.
        path: where the socket's file belongs.
        bound: listens there already; closed in the end.
        stop: set by the daemon.
    """
    while not stop.is_set():
        if bound is None:
            try:
                private_folder(path.parent)
                bound = listen(path)
            except OrchestratorError:
                await _a_while(stop)
                continue
            log.warning("the admin socket was gone; it is back at %s", path)
        lost = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            app = admin_app(operations)
            tasks.create_task(serve(app, bound_socket=bound, drain_s=DRAIN_S, stop=lost))
            while not stop.is_set() and _is_there(path):
                await _a_while(stop)
            lost.set()
        bound = None


def _is_there(path: Path) -> bool:
    """One look at a file in memory, every LOOK_EVERY_S; not worth a thread."""
    return path.exists()


async def _a_while(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY_S):
            await stop.wait()


def admin_app(operations: Operations) -> App:
    """Return the ASGI application. Who may open its socket may do everything: it has no keys."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            body = await _json_body(receive)
            status, payload = 200, await _answer(operations, scope["method"], scope["path"], body)
        except OrchestratorError as error:
            status, payload = STATUS_OF.get(type(error), 409), _error(error)
        except Exception as error:
            log.exception("admin request failed")
            status, payload = 500, {"error": {"message": f"{type(error).__name__}: {error}", "fix": ""}}
        content = json.dumps(payload, default=str).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


async def _answer(  # noqa: PLR0911 (one line per verb)
    operations: Operations, method: str, path: str, body: Json
) -> Json:
    match method, path.strip("/").split("/"):
        case "GET", ["v1", "status"]:
            return await operations.status()
        case "GET", ["v1", "models", name]:
            return await operations.describe(name)
        case "GET", ["v1", "doctor"]:
            return await operations.doctor()
        case "POST", ["v1", "reload"]:
            return await operations.reload(_seconds(body, "wait_s"))
        case "POST", ["v1", "plan"]:
            return await operations.plan(_text(body, "folder"))
        case "POST", ["v1", "history", "publish"]:
            return await operations.publish()
        case "POST", ["v1", "confirm-removal"]:
            return await operations.confirm_removal()
    raise BadBody(f"there is no {method} {path}", fix="use the orchestrator command of the same version")


def _error(error: OrchestratorError) -> Json:
    message = f"{error.where}: {error.what}" if error.where else error.what
    return {"error": {"message": message, "fix": error.fix}}


async def _json_body(receive: Receive) -> Json:
    content = b""
    more = True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
        if len(content) > MOST_BODY_BYTES:
            raise BadBody("the body is too large")
    if not content:
        return {}
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadBody(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadBody("the body must be a JSON object")
    return body


def _seconds(body: Json, key: str) -> float | None:
    value = body.get(key)
    if value is None:
        return None
    # Python's reader knows NaN and Infinity, which no deadline can be.
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST_SECONDS:
        return float(value)
    raise BadBody(f"{key} must be a number of seconds, at most {MOST_SECONDS}")


def _text(body: Json, key: str) -> str | None:
    value = body.get(key)
    if value is None or isinstance(value, str):
        return value
    raise BadBody(f"{key} must be a string")
