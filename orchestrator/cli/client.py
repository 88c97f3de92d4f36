"""The admin socket from the outside: HTTP over a Unix socket, every call with a deadline."""

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast
from urllib.parse import quote

from orchestrator.cli import wire
from orchestrator.clock import monotonic_s
from orchestrator.errors import DaemonUnreachable, OrchestratorError, RequestError

# The daemon answers from memory; a guess of what a very busy machine may need.
DEADLINE_S: Final = 10.0
# What a plan may take besides: new models' memory is estimated for it, each in a process of its own.
PLAN_S: Final = 110.0
EXAMINATION_S: Final = 110.0
CHUNK_BYTES: Final = 1 << 16
START: Final = "start it with: orchestrator run"


class Admin:
    """One daemon. Every verb raises DaemonUnreachable, or RequestError where the daemon refuses."""

    def __init__(self, path: Path, *, deadline_s: float = DEADLINE_S) -> None:
        self.path = path
        self._deadline_s = deadline_s

    def status(self) -> wire.Status:
        return cast("wire.Status", self._call("GET", "/v1/status"))

    def describe(self, model: str) -> wire.Described:
        return cast("wire.Described", self._call("GET", f"/v1/models/{quote(model, safe='')}"))

    def reload(self, wait_s: float | None) -> wire.Reloaded:
        answer = self._call("POST", "/v1/reload", {"wait_s": wait_s}, extra_s=wait_s or 0)
        return cast("wire.Reloaded", answer)

    def plan(self, folder: Path | None) -> wire.Plan:
        answer = self._call("POST", "/v1/plan", {"folder": str(folder) if folder else None}, extra_s=PLAN_S)
        return cast("wire.Plan", answer)

    def doctor(self) -> wire.Findings:
        return cast("wire.Findings", self._call("GET", "/v1/doctor", extra_s=EXAMINATION_S))

    def publish_history(self) -> wire.Published:
        return cast("wire.Published", self._call("POST", "/v1/history/publish", {}))

    def confirm_removal(self) -> wire.Confirmed:
        return cast("wire.Confirmed", self._call("POST", "/v1/confirm-removal", {}))

    def _call(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, extra_s: float = 0
    ) -> object:
        deadline = monotonic_s() + self._deadline_s + extra_s
        connection = self._connect(deadline)
        try:
            payload = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"} if payload is not None else {}
            connection.request(method, path, body=payload, headers=headers)
            status, content = _read(connection, deadline)
        except TimeoutError as late:
            raise DaemonUnreachable(
                f"the daemon on {self.path} did not answer in {self._deadline_s + extra_s:.0f} s",
                fix="look at its log; if it hangs, stop it and start it again",
            ) from late
        except (OSError, http.client.HTTPException) as gone:
            cause = str(gone) or type(gone).__name__
            raise DaemonUnreachable(
                f"the daemon on {self.path} went away before it had answered ({cause})",
                fix=f"look at its log, then {START}",
            ) from gone
        finally:
            connection.close()
        return _decode(status, content, self.path)

    def _connect(self, deadline: float) -> http.client.HTTPConnection:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(max(0.001, deadline - monotonic_s()))
            sock.connect(str(self.path))
        except PermissionError as denied:
            sock.close()
            raise DaemonUnreachable(
                f"not allowed to open {self.path}",
                fix="run this as the user that runs the daemon",
            ) from denied
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as absent:
            sock.close()
            raise DaemonUnreachable(f"no daemon answers on {self.path}", fix=START) from absent
        except OSError as failed:  # a path longer than the kernel takes, a full backlog, …
            sock.close()
            raise DaemonUnreachable(
                f"cannot connect to {self.path}: {failed}",
                fix="set XDG_RUNTIME_DIR to a short path of your own, for the daemon and for this command",
            ) from failed
        connection = http.client.HTTPConnection("localhost")
        connection.sock = sock
        return connection


def _read(connection: http.client.HTTPConnection, deadline: float) -> tuple[int, bytes]:
    """Return status and body; the deadline covers the whole answer, not each part of it."""
    sock = connection.sock  # the connection forgets it once the answer says `Connection: close`
    response = connection.getresponse()
    parts: list[bytes] = []
    while True:
        left = deadline - monotonic_s()
        if left <= 0:
            raise TimeoutError
        if sock.fileno() >= 0:
            sock.settimeout(left)
        part = response.read1(CHUNK_BYTES)
        if not part:
            return response.status, b"".join(parts)
        parts.append(part)


def _decode(status: int, content: bytes, path: Path) -> object:
    try:
        answer: object = json.loads(content)
    except ValueError as malformed:
        raise OrchestratorError(
            f"the answer on {path} is not JSON",
            fix="the daemon and this command may be of different versions: compare orchestrator --version",
        ) from malformed
    if status < http.client.BAD_REQUEST:
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        error = {}
    raise RequestError(
        str(error.get("message") or f"the daemon answered with status {status}"),
        status=status,
        code=str(error.get("code") or ""),
        fix=str(error.get("fix") or ""),
    )
