"""What a parent and its worker child say to each other besides HTTP: one line of JSON each way.

The parent writes a `Launch` to the child's standard input and then keeps that pipe open for as long as the
child should live. The child answers on standard output with exactly one line, `Ready` or `Failed`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

EXIT_REFUSED = 3  # the model could not be loaded; a `Failed` line says why
EXIT_ORPHANED = 4  # the parent has gone
EXIT_BROKEN = 5  # decoding failed again and again; a fresh process may do better


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a child shall serve.

    `model` is the name put into every answer, `path` the GGUF file (for mlx the folder), `context` the tokens
    of one request, `parallel` the requests decoded at once, `socket` the Unix socket to bind. `threads` None
    means the physical cores, or what ORCHESTRATOR_WORKER_THREADS says. `warm` asks for one decode before
    `Ready`. `runtime` is "llama-cpp" or "mlx". `accelerator` is what the model's file asks for, "auto" for
    the best there is. `embeds` says that requests for embeddings will come.
    """

    model: str
    path: str
    context: int
    parallel: int
    socket: str
    threads: int | None = None
    warm: bool = True
    runtime: str = "llama-cpp"
    accelerator: str = "auto"
    embeds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The socket accepts. `size_bytes` counts the weights, `train_context` tokens as the file has it.

    `reserved_bytes` of the RAM are taken only as requests come: buffers for computing, with mlx the caches
    as well. Touching all of it at once would cost a large model as long as several loads.
    """

    pid: int
    n_vocab: int
    n_parameters: int
    train_context: int
    size_bytes: int
    load_ms: float
    reserved_bytes: int = 0


class FailureKind(StrEnum):
    NOT_FOUND = "not_found"
    CORRUPT = "corrupt"
    UNKNOWN_ARCHITECTURE = "unknown_architecture"
    OUT_OF_MEMORY = "out_of_memory"
    UNAVAILABLE = "unavailable"  # the runtime is not installed, or does not work on this machine
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The model will not be served; `message` is one sentence with the cause."""

    kind: FailureKind
    message: str


class LoadRefused(Exception):
    """The model will not load; `kind` for programs, the text for people."""

    def __init__(self, kind: FailureKind, what: str) -> None:
        super().__init__(what)
        self.kind = kind


def encode_launch(launch: Launch) -> bytes:
    """Return the line to write to the child's standard input."""
    return json.dumps(asdict(launch)).encode() + b"\n"


def decode_launch(line: bytes) -> Launch:
    """Read the line back; fields that are not known are ignored.

    Raises:
        ValueError: it is not a launch frame.
    """
    content = _object(line)
    try:
        return Launch(**{f.name: content[f.name] for f in fields(Launch) if f.name in content})
    except TypeError as error:
        raise ValueError(f"not a launch frame: {error}") from error


def encode_report(report: Ready | Failed) -> bytes:
    """Return the line that the child writes to its standard output."""
    if isinstance(report, Ready):
        content: dict[str, object] = {"ready": True} | asdict(report)
    else:
        content = {"ready": False, "error": {"kind": report.kind.value, "message": report.message}}
    return json.dumps(content).encode() + b"\n"


def decode_report(line: bytes) -> Ready | Failed:
    """Read the child's line; fields that are not known are ignored.

    Raises:
        ValueError: it is not a report, an empty line (the child died first) included.
    """
    content = _object(line)
    try:
        if content["ready"]:
            return Ready(**{f.name: content[f.name] for f in fields(Ready) if f.name in content})
        error = content["error"]
        return Failed(kind=FailureKind(error["kind"]), message=str(error["message"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a report: {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a child found that went through the motions of loading.

    `pools` are upper bounds in bytes, `system` what the runtime says of itself, for people.
    """

    pools: Mapping[str, int]
    system: str = ""


def encode_dry_run(found: DryRun | Failed) -> bytes:
    """Return the line of a child that was asked how much memory it would take."""
    if isinstance(found, Failed):
        return encode_report(found)
    return json.dumps({"pools": dict(found.pools), "system": found.system}).encode() + b"\n"


def decode_dry_run(line: bytes) -> DryRun | Failed:
    """Read that line back.

    Raises:
        ValueError: it is neither, an empty line included.
    """
    content = _object(line)
    found = content.get("pools")
    if isinstance(found, dict):
        pools = {str(pool): int(size) for pool, size in found.items()}
        return DryRun(pools=pools, system=str(content.get("system", "")))
    report = decode_report(line)
    if isinstance(report, Failed):
        return report
    raise ValueError("a worker has loaded where it was asked for a dry run")


def _object(line: bytes) -> dict[str, Any]:
    content = json.loads(line)
    if isinstance(content, dict):
        return content
    raise ValueError(f"not an object: {line[:80]!r}")
