"""A real daemon in its own process, its folders, and real clients of it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).parents[2]
START_DEADLINE_S = 60.0
WORKER = "orchestrator.workers.serve"

FAST = "engine: llama-cpp\nsource: demo:tiny\ncontext: 512\nparallel: 4\n"
QUALITY = "engine: llama-cpp\nsource: demo:small\ncontext: 512\nparallel: 4\n"
DEFAULT = "kind: routing\ndefault: true\notherwise: [fast]\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class House:
    """One daemon with folders of its own; start it, kill it and start it again at will."""

    root: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None
    # What Python is told to run: benchmarks run the daemon with other figures in its policies.
    program: tuple[str, ...] = ("-m", "orchestrator")

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def write(self, name: str, text: str) -> Path:
        """Write `config/NAME` the atomic way: temporary file, rename."""
        path = self.config / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text)
        temporary.replace(path)
        return path

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | {
            "PYTHONPATH": str(REPOSITORY),
            "XDG_RUNTIME_DIR": str(self.root),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "ORCHESTRATOR_WORKER_THREADS": "1",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, *self.program, *arguments]

    def start(self, *, wait: bool = True) -> "House":
        log = (self.root / "daemon.log").open("a")
        self.process = subprocess.Popen(
            self.command(
                "run", "--config", str(self.config), "--state", str(self.state), "--port", str(self.port)
            ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self.environment(),
            text=True,
        )
        log.close()
        if wait:
            self.until_ready()
        return self

    def run(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run another command of the program against this daemon."""
        return subprocess.run(  # the exit code is the caller's business
            self.command(*arguments, "--state", str(self.state)),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=self.environment(),
            check=False,
        )

    def until_ready(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Wait until every model is served."""
        self.until(lambda: self.get("/ready")[0] == 200, deadline_s)

    def until(self, holds: Any, deadline_s: float = 30.0) -> None:  # noqa: ANN401 (any predicate)
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(
                    f"the daemon ended with {self.process.returncode}:\n{self.log()[-3000:]}"
                )
            with contextlib.suppress(OSError, http.client.HTTPException):
                if holds():
                    return
            time.sleep(0.02)
        raise AssertionError(f"not within {deadline_s} s:\n{self.log()[-3000:]}")

    def log(self) -> str:
        return (self.root / "daemon.log").read_text()

    def get(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def chat(self, model: str, prompt: str, **fields: Any) -> tuple[int, dict[str, str], Any]:  # noqa: ANN401
        """Ask without streaming; return status, headers (lower case) and body."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0} | fields
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, json.loads(answer.read())
        finally:
            connection.close()

    def admin(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 (JSON)
        sockets = list(self.root.glob("orchestrator/*/admin.sock"))
        if not sockets:
            raise ConnectionError("no daemon has made its admin socket yet")
        connection = http.client.HTTPConnection("admin", timeout=70)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(70)
        connection.sock.connect(str(sockets[0]))
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def status(self) -> Any:  # noqa: ANN401 (JSON)
        return self.admin("GET", "/v1/status")

    def model(self, name: str) -> Any:  # noqa: ANN401 (JSON)
        return self.admin("GET", f"/v1/models/{name}")

    def workers(self) -> list[psutil.Process]:
        """Return the live worker processes that belong to this house, whoever their parent is now."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "status"]):
            if WORKER not in (process.info["cmdline"] or []):
                continue
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and self._owns(process):
                    found.append(process)
        return found

    def _owns(self, process: psutil.Process) -> bool:
        return any(str(self.root) in value for value in process.environ().values())

    def ask_and_hang(self, model: str, **fields: Any) -> socket.socket:  # noqa: ANN401 (JSON)
        """Send a request and do not wait for the answer: whoever closes the socket has left."""
        asked = {"model": model, "messages": [{"role": "user", "content": "hi"}]} | fields
        body = json.dumps(asked).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall(head.encode() + body)
        return connection

    @contextlib.contextmanager
    def next_load_held(self, deadline_s: float = 30.0) -> Iterator[threading.Event]:
        """Freeze the next worker that is started in the middle of its load, and let it go on at the end.

        The event is set once it stands still.
        """
        assert self.process is not None
        daemon = psutil.Process(self.process.pid)
        known = {child.pid for child in daemon.children()}
        found: list[psutil.Process] = []
        frozen, enough = threading.Event(), threading.Event()

        def look() -> None:
            end = time.monotonic() + deadline_s
            while not found and not enough.is_set() and time.monotonic() < end:
                for child in daemon.children():
                    with contextlib.suppress(psutil.Error):
                        if child.pid not in known and WORKER in child.cmdline():
                            child.suspend()
                            found.append(child)
                            frozen.set()
                            return
                time.sleep(0.005)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield frozen
        finally:
            enough.set()
            looking.join()
            for worker in found:
                with contextlib.suppress(psutil.Error):
                    worker.resume()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60)


@contextlib.contextmanager
def house(root: Path, *, models: dict[str, str] | None = None) -> Iterator[House]:
    """A house with two models and a default policy, not yet started; whatever runs is ended after."""
    built = House(root=root)
    for name, text in (models or {"fast": FAST, "quality": QUALITY}).items():
        built.write(f"models.d/{name}.yaml", text)
    built.write("policies/default.yaml", DEFAULT if models else DEFAULT + "fallback: [quality]\n")
    try:
        yield built
    finally:
        if built.process is not None and built.process.poll() is None:
            built.process.kill()
            built.process.wait(10)
