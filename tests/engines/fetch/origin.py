"""A server of files, and an imitation of the hub's two endpoints that matter; it counts what it sends.

The imitation follows what huggingface-hub 2.4 and the public hub do: large files are redirected to another
server, with their digest in headers and in the listing; small ones come directly, and have a git blob digest.
"""

import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import unquote, urlsplit

LARGE: Final = (".gguf", ".safetensors")
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]

    @property
    def first(self) -> int:
        """The first byte that was asked for."""
        found = _RANGE.fullmatch(self.headers.get("range", ""))
        return int(found[1]) if found else 0


@dataclass(kw_only=True)
class Answer:
    """What is sent in place of what should be."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


# The hub tells nobody whether a repository is missing or private.
MISSING: Final = Answer(status=401, headers={"X-Error-Code": "RepoNotFound"}, body=b"{}")


@dataclass(kw_only=True)
class Repository:
    """Commits by name of branch or by their own digest; the files of each by path."""

    files: dict[str, bytes]
    token: str = ""
    gated: bool = False
    older: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        return commit_of(self.files)

    def at(self, revision: str) -> dict[str, bytes] | None:
        if revision in {"main", self.commit}:
            return self.files
        return self.older.get(revision)

    def move(self, files: dict[str, bytes]) -> None:
        """Make a new commit on the branch."""
        self.older[self.commit] = self.files
        self.files = files


class Origin:
    """One server on loopback.

    `pace_s` is waited after each `chunk_bytes`. `breaks_after` ends each body early, after so many bytes.
    `stalls_after` lets it stand still there. `ranges` False ignores what part was asked for, `lists_digests`
    False tells only names, as mirrors do.
    """

    def __init__(self, certificate: str | None = None) -> None:
        self.repositories: dict[str, Repository] = {}
        self.files: dict[str, bytes] = {}
        self.elsewhere: Origin | None = None
        self.pace_s = 0.0
        self.chunk_bytes = 16 * 1024
        self.breaks_after: int | None = None
        self.stalls_after: int | None = None
        self.ranges = True
        self.lists_digests = True
        self.asked: list[Asked] = []
        self.sent_bytes = 0
        self.instead: Callable[[Asked], Answer | None] = lambda _: None
        self._lock = threading.Lock()
        self._over = threading.Event()
        origin = self

        class Handler(_Handler):
            of = origin

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["Origin"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def bodies(self) -> list[Asked]:
        """Return the requests for the files themselves."""
        return [asked for asked in self.asked if asked.path.startswith("/files/")]

    def count(self, sent: int) -> None:
        with self._lock:
            self.sent_bytes += sent

    def pause(self, seconds: float) -> None:
        self._over.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    of: Origin
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = Asked(path=self.path, headers={name.lower(): value for name, value in self.headers.items()})
        self.of.asked.append(asked)
        with suppress(OSError):
            answer = self.of.instead(asked)
            if answer is not None:
                self._send(answer)
                return
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/files/"):
                self._send_file(asked, self.of.files.get(path.removeprefix("/files/")))
            elif path.startswith("/api/models/"):
                self._send(self._listing(asked, path.removeprefix("/api/models/")))
            else:
                self._resolve(asked, path)

    do_HEAD = do_GET  # noqa: N815 (the class's own name)

    def _listing(self, asked: Asked, path: str) -> Answer:
        name, _, revision = path.partition("/revision/")
        repository = self.of.repositories.get(name)
        refused = _refused(repository, asked)
        if repository is None or refused is not None:
            return refused or MISSING
        files = repository.at(unquote(revision) or "main")
        if files is None:
            return Answer(status=404, headers={"X-Error-Code": "RevisionNotFound"}, body=b"{}")
        siblings: list[dict[str, object]] = [{"rfilename": file} for file in files]
        if self.of.lists_digests:
            siblings = [_listed(file, content) for file, content in files.items()]
        body = {"id": name, "modelId": name, "sha": commit_of(files), "siblings": siblings}
        return Answer(headers={"Content-Type": "application/json"}, body=json.dumps(body).encode())

    def _resolve(self, asked: Asked, path: str) -> None:
        name, _, rest = path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        repository = self.of.repositories.get(name)
        refused = _refused(repository, asked)
        if repository is None or refused is not None:
            self._send(refused or MISSING)
            return
        files = repository.at(revision) or {}
        content = files.get(file)
        if content is None:
            self._send(Answer(status=404, headers={"X-Error-Code": "EntryNotFound"}))
        elif file.endswith(LARGE):
            elsewhere = self.of.elsewhere or self.of
            digest = sha256(content)
            elsewhere.files[digest] = content
            location = f"{elsewhere.url}/files/{digest}?signature=secret"
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{digest}"'}
            moved = {"Location": location, "X-Repo-Commit": commit_of(files)}
            self._send(Answer(status=302, headers=moved | linked))
        else:
            self._send_file(asked, content, tag=git_sha1(content))

    def _send_file(self, asked: Asked, content: bytes | None, tag: str = "") -> None:
        if content is None:
            self._send(Answer(status=404))
            return
        tag = f'"{tag or sha256(content)[:16]}"'
        first = asked.first if self.of.ranges and asked.headers.get("if-range", tag) == tag else 0
        found = _RANGE.fullmatch(asked.headers.get("range", ""))
        last = min(int(found[2] or len(content)), len(content) - 1) if found else len(content) - 1
        if first and first >= len(content):
            self._send(Answer(status=416, headers={"Content-Range": f"bytes */{len(content)}"}))
            return
        partial = bool(found) and self.of.ranges and asked.headers.get("if-range", tag) == tag
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str((last if partial else len(content) - 1) - first + 1))
        self.end_headers()
        if self.command != "HEAD":
            self._pour(content[first : last + 1] if partial else content)

    def _pour(self, body: bytes) -> None:
        size = self.of.chunk_bytes
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            if self.of.breaks_after is not None and start >= self.of.breaks_after:
                self.close_connection = True
                return
            if self.of.stalls_after is not None and start >= self.of.stalls_after:
                self.of.pause(60)
                return
            self.wfile.write(piece)
            self.of.count(len(piece))
            if self.of.pace_s:
                time.sleep(self.of.pace_s)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the class's own name)
        """Say nothing."""


def _refused(repository: Repository | None, asked: Asked) -> Answer | None:
    """Return the refusal, None where there is none."""
    token = asked.headers.get("authorization", "").removeprefix("Bearer ")
    if repository is None:
        return MISSING
    if repository.token and not repository.gated and token != repository.token:
        return MISSING
    if repository.gated and token != repository.token:
        return Answer(status=403, headers={"X-Error-Code": "GatedRepo"}, body=b"{}")
    return None


def _listed(file: str, content: bytes) -> dict[str, object]:
    listed: dict[str, object] = {"rfilename": file, "size": len(content), "blobId": git_sha1(content)}
    if file.endswith(LARGE):
        digest = sha256(content)
        listed["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
    return listed


@lru_cache(maxsize=64)
def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=64)
def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def commit_of(files: Mapping[str, bytes]) -> str:
    listed = "".join(f"{name} {git_sha1(content)}\n" for name, content in sorted(files.items()))
    return hashlib.sha1(listed.encode(), usedforsecurity=False).hexdigest()
