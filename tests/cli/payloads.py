"""Answers of a daemon in the middle of things: what the admin API says, as it says it."""

from datetime import UTC, datetime
from typing import Any

from orchestrator.cli import wire

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MIB, GIB = 1 << 20, 1 << 30
OLD, NEW, BAD = "3f2a91bc04de", "ab12cd34ef56", "77aa00bb11cc"

PROBLEM: wire.Problem = {
    "path": "models.d/coder.yaml",
    "line": 3,
    "column": 9,
    "what": "source: 'demo:smal' names no shipped model",
    "fix": "did you mean demo:small?",
    "excerpt": "source: demo:smal",
}


def condition(kind: str, status: str, reason: str, message: str, minute: int = 0) -> wire.Condition:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observed_generation": 4,
        "since": f"2026-11-20T11:{minute:02}:00+00:00",
    }


def replica(name: str = "fast-1", revision: str = OLD, phase: str = "ready", **changes: Any) -> wire.Replica:  # noqa: ANN401 (any field)
    base: wire.Replica = {
        "id": name,
        "revision": revision,
        "phase": phase,
        "pid": 4711,
        "memory_bytes": 95 * MIB,
        "gpu_bytes": {},
        "leases": 0,
        "since": "2026-11-20T11:30:00+00:00",
        "why": "models.d/fast.yaml asks for it",
    }
    base.update(changes)  # type: ignore[typeddict-item] # the test says which
    return base


def model(name: str = "fast", **changes: Any) -> wire.Model:  # noqa: ANN401 (any field)
    """A model that is ready as its file asks, unless `changes` say otherwise."""
    base: wire.Model = {
        "name": name,
        "path": f"models.d/{name}.yaml",
        "engine": "llama-cpp",
        "source": "demo:tiny",
        "state": "active",
        "load": "always",
        "generation": 4,
        "desired": OLD,
        "attempted": OLD,
        "stable": OLD,
        "rejected": [],
        "serving": {"replica": f"{name}-1", "revision": OLD},
        "conditions": [
            condition("Accepted", "True", "Valid", "generation 4 is in force"),
            condition("Ready", "True", "Serving", f"revision {OLD} answers requests", 30),
        ],
        "replicas": [replica(f"{name}-1")],
        "takes": {
            "need": {"ram": 96 * MIB},
            "estimated": {"ram": 104 * MIB},
            "measured": {"ram": 96 * MIB},
            "load_s": 0.84,
            "engine_version": "llama.cpp 0.3.36",
        },
        "fetch": None,
        "waiting": 0,
    }
    base.update(changes)  # type: ignore[typeddict-item] # the test says which
    return base


def swapping() -> wire.Model:
    return model(
        "fast",
        desired=NEW,
        attempted=NEW,
        conditions=[
            condition("Accepted", "True", "Valid", "generation 5 is in force"),
            condition("Ready", "True", "Serving", f"revision {OLD} answers requests"),
            condition("Progressing", "True", "Loading", "loading ab12cd34 beside 3f2a91bc", 59),
        ],
        replicas=[replica("fast-1", leases=3), replica("fast-2", NEW, "starting", memory_bytes=0, pid=4712)],
    )


def rejected() -> wire.Model:
    return model(
        "quality",
        source="file:/srv/models/quality-q4.gguf",
        desired=BAD,
        attempted=BAD,
        rejected=[
            {
                "revision": BAD,
                "reason": "SourceCorrupt",
                "message": "/srv/models/quality-q4.gguf is not a GGUF file",
                "terminal": False,
                "fix": "",
                "retry_at": "2026-11-20T12:00:12+00:00",
                "failures": 3,
            }
        ],
        conditions=[
            condition("Accepted", "True", "Valid", "generation 4 is in force"),
            condition("Ready", "True", "Serving", f"revision {OLD} answers requests"),
            condition("Degraded", "True", "RevisionRejected", "serving, but not what the file asks for", 50),
        ],
        replicas=[replica("quality-1", memory_bytes=int(5.25 * 1024**3), leases=12)],
    )


def stalled() -> wire.Model:
    message = "crashed 5 times in 10 minutes; edit models.d/big.yaml, or: orchestrator reload"
    return model(
        "big",
        source="file:/srv/models/a-very-long-folder-name/with-a-long-file-name-in-it-q8_0.gguf",
        serving=None,
        stable=None,
        conditions=[
            condition("Accepted", "True", "Valid", "generation 1 is in force"),
            condition("Ready", "False", "Stalled", "no replica is ready"),
            condition("Stalled", "True", "CrashLoop", message, 58),
        ],
        replicas=[],
    )


def pool(**changes: Any) -> wire.Pool:  # noqa: ANN401 (any field)
    base: wire.Pool = {
        "total_bytes": 16 * GIB,
        "reserve_bytes": 1638 * MIB,
        "outside_bytes": 2 * GIB,
        "limit_bytes": None,
        "room_bytes": 16 * GIB - 1638 * MIB - 2 * GIB,
        "charged_bytes": 192 * MIB,
    }
    base.update(changes)  # type: ignore[typeddict-item] # the test says which
    return base


def status(*models: wire.Model, **changes: Any) -> wire.Status:  # noqa: ANN401 (any field)
    base: wire.Status = {
        "version": "0.1.0",
        "pid": 4700,
        "started_at": "2026-11-20T08:40:00+00:00",
        "address": "http://127.0.0.1:11435",
        "config_folder": "/home/ada/models",
        "state_folder": "/home/ada/.local/state/orchestrator",
        "ready": True,
        "problems": [],
        "held": [],
        "state": {"ok": True, "error": None},
        "history": {"ok": True, "written": 1234, "queued": 0, "dropped": 0, "error": None},
        "memory": {"ram": pool()},
        "models": list(models),
        "policies": [
            {
                "name": "default",
                "default": True,
                "otherwise": ["quality"],
                "fallback": ["fast"],
                "rules": 2,
                "tiers": ["local"],
                "path": "policies/default.yaml",
            },
        ],
    }
    base.update(changes)  # type: ignore[typeddict-item] # the test says which
    return base


def calm() -> wire.Status:
    return status(model("fast"), model("small", source="demo:small", replicas=[replica("small-1", leases=2)]))


def mended() -> wire.Status:
    """The history is being written again, and what happened to the old file is still worth knowing."""
    error = "the file was damaged; it was moved aside as live.duckdb.corrupt-1\n  fix: none is needed"
    return status(
        model("fast"), history={"ok": True, "written": 3, "queued": 0, "dropped": 0, "error": error}
    )


def busy() -> wire.Status:
    return status(
        stalled(),
        model("coder"),
        swapping(),
        model("gone"),
        model("old", state="absent", desired=None, serving=None, replicas=[]),
        rejected(),
        model("trial", state="testing"),
        problems=[PROBLEM],
        held=[
            {
                "path": "models.d",
                "why": "6 of 8 files are gone at once; still in force: gone, old, quality, …",
                "since": "2026-11-20T11:48:00+00:00",
            }
        ],
        state={
            "ok": False,
            "error": "state.db: the daemon's state cannot be written: disk full\n  fix: make room",
        },
        history={
            "ok": False,
            "written": 1234,
            "queued": 20,
            "dropped": 7,
            "error": "no space left on device\n  fix: make room",
        },
    )


def described() -> wire.Described:
    return {
        **rejected(),
        "spec": {
            "engine": "llama-cpp",
            "source": "file:/srv/models/quality-q4.gguf",
            "state": "active",
            "context": 8192,
            "parallel": 2,
            "capabilities": ["chat", "completion"],
            "sampling": {"temperature": 0.7, "top_k": 40},
        },
        "events": [
            {
                "at": "2026-11-20T11:50:00+00:00",
                "severity": "warning",
                "reason": "LoadFailed",
                "message": "/srv/models/quality-q4.gguf is not a GGUF file; trying again in 4 s",
                "revision": BAD,
                "replica": "quality-2",
                "generation": 4,
            },
            {
                "at": "2026-11-20T11:30:00+00:00",
                "severity": "normal",
                "reason": "Ready",
                "message": "loaded and warm in 840 ms",
                "revision": OLD,
                "replica": "quality-1",
                "generation": 3,
            },
        ],
        "problems": [],
    }


def reloaded(**changes: Any) -> wire.Reloaded:  # noqa: ANN401 (any field)
    base: wire.Reloaded = {
        "changed": [
            {"kind": "model", "name": "fast", "change": "changed"},
            {"kind": "model", "name": "new", "change": "added"},
            {"kind": "policy", "name": "night", "change": "removed"},
        ],
        "problems": [],
        "held": [],
        "settled": True,
        "models": [model("fast"), model("new")],
        "waited_ms": 840.0,
    }
    base.update(changes)  # type: ignore[typeddict-item] # the test says which
    return base
