"""The admin API: its routes, what it refuses, and its socket."""

import asyncio
import json
import logging
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.errors import HistoryError, ModelUnknown, StateError
from orchestrator.gateway.admin import admin_app, listen
from orchestrator.gateway.server import serve

Json = dict[str, Any]

MOST_BODY_BYTES = 64 * 1024
MOST_SECONDS = 24 * 3600


class Desk:
    """Answers with what it was asked, or fails as it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def _answer(self, **asked: object) -> Json:
        if self.error:
            raise self.error
        return asked

    async def status(self) -> Json:
        return self._answer(asked="status")

    async def describe(self, name: str) -> Json:
        return self._answer(asked="describe", name=name)

    async def reload(self, wait_s: float | None) -> Json:
        return self._answer(asked="reload", wait_s=wait_s)

    async def plan(self, folder: str | None) -> Json:
        return self._answer(asked="plan", folder=folder)

    async def doctor(self) -> Json:
        return self._answer(asked="doctor")

    async def publish(self) -> Json:
        return self._answer(asked="publish", path=Path("/history.duckdb"))

    async def confirm_removal(self) -> Json:
        return self._answer(asked="confirm_removal")


async def call(
    method: str, path: str, *chunks: bytes, desk: Desk | None = None, scope_type: str = "http"
) -> tuple[int, Json]:
    """Ask the application itself; the body comes in these chunks."""
    body = list(chunks) or [b""]
    sent: list[Any] = []

    async def receive() -> Any:  # noqa: ANN401 (any ASGI message)
        chunk = body.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(body)}

    async def send(message: Any) -> None:  # noqa: ANN401 (any ASGI message)
        sent.append(message)

    scope: Any = {"type": scope_type, "method": method, "path": path}
    await admin_app(desk or Desk())(scope, receive, send)
    if not sent:
        return 0, {}
    start, content = sent
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert int(headers[b"content-length"]) == len(content["body"])
    found: Json = json.loads(content["body"])
    return start["status"], found


ROUTES: list[tuple[str, str, bytes, Json]] = [
    ("GET", "/v1/status", b"", {"asked": "status"}),
    ("GET", "/v1/models/fast", b"", {"asked": "describe", "name": "fast"}),
    ("POST", "/v1/reload", b"", {"asked": "reload", "wait_s": None}),
    ("POST", "/v1/reload", b"{}", {"asked": "reload", "wait_s": None}),
    ("POST", "/v1/reload", b'{"wait_s": null}', {"asked": "reload", "wait_s": None}),
    ("POST", "/v1/reload", b'{"wait_s": 2}', {"asked": "reload", "wait_s": 2}),
    ("POST", "/v1/reload", b'{"wait_s": 0.5}', {"asked": "reload", "wait_s": 0.5}),
    ("POST", "/v1/reload", b'{"wait_s": 86400}', {"asked": "reload", "wait_s": 86400}),
    ("POST", "/v1/plan", b"", {"asked": "plan", "folder": None}),
    ("POST", "/v1/plan", b'{"folder": "/etc"}', {"asked": "plan", "folder": "/etc"}),
    ("POST", "/v1/history/publish", b"", {"asked": "publish", "path": "/history.duckdb"}),
    ("POST", "/v1/confirm-removal", b"{}", {"asked": "confirm_removal"}),
]


@pytest.mark.parametrize(("method", "path", "body", "expected"), ROUTES)
async def test_routes(method: str, path: str, body: bytes, expected: Json) -> None:
    assert await call(method, path, body) == (200, expected)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1"),
        ("POST", "/v1/status"),
        ("GET", "/v1/reload"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/a/b"),
        ("DELETE", "/v1/models/fast"),
        ("POST", "/v2/reload"),
    ],
)
async def test_anything_else_is_told_to_be_of_another_version(method: str, path: str) -> None:
    assert await call(method, path) == (
        400,
        {
            "error": {
                "message": f"there is no {method} {path}",
                "fix": "use the orchestrator command of the same version",
            }
        },
    )


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/reload", b"{", "the body is not JSON: "),
        ("/v1/reload", b"\xff{}", "the body is not JSON: "),
        ("/v1/reload", b"[" * 60_000, "the body is not JSON: "),
        ("/v1/reload", b"[]", "the body must be a JSON object"),
        ("/v1/reload", b'"wait_s"', "the body must be a JSON object"),
        ("/v1/reload", b'{"wait_s": "2"}', "wait_s must be a number of seconds"),
        ("/v1/reload", b'{"wait_s": true}', "wait_s must be a number of seconds"),
        ("/v1/reload", b'{"wait_s": NaN}', "wait_s must be a number of seconds"),
        ("/v1/reload", b'{"wait_s": Infinity}', "wait_s must be a number of seconds"),
        ("/v1/reload", b'{"wait_s": -Infinity}', "wait_s must be a number of seconds"),
        ("/v1/reload", b'{"wait_s": 1e300}', "wait_s must be a number of seconds"),
        ("/v1/reload", b'{"wait_s": %d}' % (MOST_SECONDS + 1), "wait_s must be a number of seconds"),
        ("/v1/plan", b'{"folder": 5}', "folder must be a string"),
        ("/v1/plan", b'{"folder": ["/etc"]}', "folder must be a string"),
        ("/v1/plan", b" " * MOST_BODY_BYTES + b"{", "the body is too large"),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused(path: str, body: bytes, message: str) -> None:
    status, found = await call("POST", path, body)
    assert status == 400
    assert found["error"]["message"].startswith(message)


async def test_a_body_may_come_in_parts_and_be_as_large_as_is_allowed() -> None:
    body = b'{"folder": "%s"}' % (b"x" * (MOST_BODY_BYTES - 14))
    assert len(body) == MOST_BODY_BYTES
    status, found = await call("POST", "/v1/plan", body[:10], body[10:])
    assert (status, len(found["folder"])) == (200, MOST_BODY_BYTES - 14)


async def test_a_body_that_never_ends_is_not_read_to_its_end() -> None:
    parts = [b"x" * 1024] * 1000
    status, found = await call("POST", "/v1/plan", *parts)
    assert (status, found["error"]["message"]) == (400, "the body is too large")


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (
            ModelUnknown("there is no model 'x'", fix="did you mean 'y'?"),
            404,
            {"message": "there is no model 'x'", "fix": "did you mean 'y'?"},
        ),
        (HistoryError("it is not running"), 409, {"message": "it is not running", "fix": ""}),
        (StateError("it is full", where="/var"), 409, {"message": "/var: it is full", "fix": ""}),
        (ZeroDivisionError("oh"), 500, {"message": "ZeroDivisionError: oh", "fix": ""}),
    ],
)
async def test_errors_and_bugs_have_their_status(error: Exception, status: int, expected: Json) -> None:
    desk = Desk()
    desk.error = error
    assert await call("GET", "/v1/models/x", desk=desk) == (status, {"error": expected})


async def test_only_bugs_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    desk = Desk()
    desk.error = ModelUnknown("no")
    await call("GET", "/v1/models/x", desk=desk)
    assert caplog.text == ""
    desk.error = ZeroDivisionError("oh")
    await call("GET", "/v1/models/x", desk=desk)
    assert "admin request failed" in caplog.text
    assert "ZeroDivisionError: oh" in caplog.text


async def test_what_is_not_http_is_not_answered() -> None:
    assert await call("GET", "/v1/status", scope_type="lifespan") == (0, {})


# -- the socket


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose sockets have short paths."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_the_socket_is_its_owners_only(short: Path) -> None:
    with listen(short / "a.sock") as listener:
        mode = (short / "a.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert not listener.getblocking()


def test_a_socket_that_a_daemon_left_behind_is_replaced(short: Path) -> None:
    path = short / "a.sock"
    listen(path).close()
    assert path.exists()
    with listen(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("obstacle", ["no folder", "a file for a folder", "a folder in its place", "long"])
def test_a_socket_that_cannot_be_made_is_a_clear_error(short: Path, obstacle: str) -> None:
    path = short / "in" / "a.sock"
    match obstacle:
        case "a file for a folder":
            path.parent.write_text("")
        case "a folder in its place":
            path.mkdir(parents=True)
        case "long":
            path = short / ("x" * 120)
        case _:
            pass
    with pytest.raises(StateError, match=r"the admin socket cannot be made: .+") as caught:
        listen(path)
    assert caught.value.where == str(path)
    assert caught.value.fix == "give this user write permission to its folder"
    reasons = {"no folder": "No such file or directory", "long": "AF_UNIX path too long"}
    assert caught.value.what.endswith(reasons.get(obstacle, ""))
    assert "Errno" not in caught.value.what


@pytest.mark.looptime(False)  # noqa: FBT003 (its only argument)
async def test_it_is_served_on_its_socket(short: Path) -> None:
    stop = asyncio.Event()
    listener = listen(short / "a.sock")
    connector = aiohttp.UnixConnector(str(short / "a.sock"))
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(admin_app(Desk()), bound_socket=listener, drain_s=1, stop=stop))
        async with session.post("http://admin/v1/reload", json={"wait_s": 3}) as response:
            assert (response.status, await response.json()) == (200, {"asked": "reload", "wait_s": 3})
        async with session.get("http://admin/v1/models/caf%C3%A9") as response:
            assert (await response.json())["name"] == "café"
        stop.set()
