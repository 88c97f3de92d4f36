"""A real HTTP server on a TCP port that streams chat answers as the gateway does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "3f2a91bc04de"


@dataclass
class Public:
    """What was asked, and how the server is to behave.

    An answer echoes how many messages it got and the last one. The words in
    the last message decide: "hang" stops after the first piece until
    `let_go`, "cut" ends without `[DONE]`, "fail" sends an error event, "long"
    is refused for the context.
    """

    address: str = ""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    client_left: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self._json(200, {"object": "list", "data": [{"id": "fast"}, {"id": "small"}, {"id": "auto"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        public = self.server.public
        public.asked.append((self.path, body))
        public.headers.append({name.lower(): value for name, value in self.headers.items()})
        text = body["messages"][-1]["content"]
        if "long" in text:
            message = "this request needs 5000 tokens, the context has 4096"
            self._json(400, {"error": {"message": message, "code": "context_length_exceeded"}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Orchestrator-Model", "small")
        self.send_header("X-Orchestrator-Revision", REVISION)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self._stream(text, len(body["messages"]))

    def _stream(self, text: str, count: int) -> None:
        self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        self._piece(f"{count}: ")
        if "hang" in text:
            self._hang()
            return
        if "fail" in text:
            self._event({"error": {"message": "the model crashed", "code": "replica_died"}})
            return
        for word in text.split():
            self._piece(f"{word} ")
        if "cut" in text:
            return
        usage = {"prompt_tokens": 5, "completion_tokens": 23, "total_tokens": 28}
        self._event({"choices": [], "usage": usage, "timings": {"predicted_per_second": 412.4}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _hang(self) -> None:
        """Say nothing until told, or until the client has left."""
        self.connection.settimeout(0.05)
        while not self.server.public.let_go.is_set():
            try:
                if self.connection.recv(1) == b"":
                    self.server.public.client_left.set()
                    return
            except TimeoutError:
                continue
            except OSError:
                self.server.public.client_left.set()
                return

    def _piece(self, text: str) -> None:
        self._event({"choices": [{"index": 0, "delta": {"content": text}}]})

    def _event(self, event: object) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, status: int, answer: object) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name of the base class)
        """Stay silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    public: Public


@contextmanager
def serve_public() -> Iterator[Public]:
    """Serve on a free port until the block ends."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.public = public = Public(address=f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield public
        finally:
            public.let_go.set()
            server.shutdown()
            thread.join()
