"""Answers of a daemon whose models do not all fit at once, on a machine with a GPU."""

from typing import Any

from orchestrator.cli import wire
from tests.cli.payloads import (
    GIB,
    MIB,
    NEW,
    OLD,
    condition,
    model,
    pool,
    rejected,
    replica,
    stalled,
    status,
    swapping,
)


def takes(ram: int, gpu: int = 0, load_s: float | None = None) -> wire.Takes:
    size = {"ram": ram} | ({"cuda:0": gpu} if gpu else {})
    more = {name: part * 11 // 10 for name, part in size.items()}
    return {
        "need": more if load_s is None else size,
        "estimated": more,
        "measured": {} if load_s is None else size,
        "load_s": load_s,
        "engine_version": "llama.cpp 0.3.36",
    }


def resting(name: str = "coder", **changes: Any) -> wire.Model:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {
        "load": "on-demand",
        "source": "hf:google/gemma-3-4b-it-qat-q4_0-gguf",
        "serving": None,
        "replicas": [],
        "conditions": [
            condition("Accepted", "True", "Valid", "generation 4 is in force"),
            condition("Fetched", "True", "Present", "it is here and checked"),
            condition("Fits", "True", "Fits", "it takes 3.5 GiB of memory (measured)"),
            condition("Ready", "False", "OnDemand", "it is loaded when a request asks for it", 30),
        ],
        "takes": takes(3584 * MIB, load_s=2.4),
    }
    return model(name, **(fields | changes))


def downloading(name: str = "primary") -> wire.Model:
    said = "hf:google/gemma-3n-E2B-it is being fetched and checked"
    return model(
        name,
        source="hf:google/gemma-3n-E2B-it",
        serving=None,
        stable=None,
        replicas=[],
        takes=None,
        fetch={
            "doing": "downloading",
            "done_bytes": 1300 * MIB,
            "total_bytes": 5600 * MIB,
            "bytes_per_s": 24 * MIB,
            "left_s": 179.2,
        },
        conditions=[
            condition("Accepted", "True", "Valid", "generation 1 is in force"),
            condition("Fetched", "False", "Fetching", said),
            condition("Fits", "Unknown", "NotKnown", "not looked at yet"),
            condition("Ready", "False", "NotLoaded", said),
            condition("Progressing", "True", "Fetching", said),
        ],
    )


def loading(name: str = "quality") -> wire.Model:
    return resting(
        name,
        conditions=[
            condition("Accepted", "True", "Valid", "generation 1 is in force"),
            condition("Ready", "False", "Loading", "it is loading"),
            condition("Progressing", "True", "Loading", f"revision {OLD} loads: 2 requests wait for it"),
        ],
        replicas=[replica(f"{name}-1", phase="starting", memory_bytes=0, pid=None)],
        waiting=2,
    )


def on_a_gpu(name: str = "fast") -> wire.Model:
    own = replica(f"{name}-1", memory_bytes=620 * MIB, gpu_bytes={"cuda:0": 4300 * MIB}, leases=1)
    return model(
        name, source="gemma3:4b", engine="ollama", replicas=[own], takes=takes(620 * MIB, 4300 * MIB, 3)
    )


def with_update(name: str = "judge") -> wire.Model:
    found = "hf:org/judge has a newer version; `update: {apply: rollout}` would take it"
    return model(
        name,
        conditions=[
            condition("Accepted", "True", "Valid", "generation 1 is in force"),
            condition("Fits", "True", "Fits", "it takes 96 MiB of memory (measured)"),
            condition("Ready", "True", "Serving", f"revision {OLD} answers requests"),
            condition("Drifted", "True", "UpdateFound", found),
        ],
    )


def unreachable(name: str = "box") -> wire.Model:
    said = "nothing answers at 10.0.0.7:11434"
    return model(
        name,
        engine="ollama",
        source="gemma3:12b",
        serving=None,
        replicas=[],
        takes=None,
        rejected=[
            {
                "revision": OLD,
                "reason": "EngineUnavailable",
                "message": said,
                "terminal": False,
                "fix": "start it: ollama serve",
                "retry_at": "2026-11-20T12:00:12+00:00",
                "failures": 3,
            }
        ],
        conditions=[
            condition("Accepted", "True", "Valid", "generation 1 is in force"),
            condition("Ready", "False", "NotLoaded", f"it failed and is tried again: {said}"),
        ],
    )


def too_large(name: str = "huge") -> wire.Model:
    said = "it needs 42.0 GiB of memory, and 14.4 GiB of memory is the whole budget"
    return model(
        name,
        serving=None,
        stable=None,
        replicas=[],
        takes=takes(38 * GIB),
        conditions=[
            condition("Accepted", "True", "Valid", "generation 1 is in force"),
            condition("Fits", "False", "NeverFits", said),
            condition("Ready", "False", "NotLoaded", said),
            condition("Stalled", "True", "NeverFits", f"{said}; fix: lower its context or parallel"),
        ],
    )


GPU = {
    "total_bytes": 8 * GIB,
    "reserve_bytes": 512 * MIB,
    "outside_bytes": 700 * MIB,
    "room_bytes": 8 * GIB - 1212 * MIB,
    "charged_bytes": 4300 * MIB,
}


def mixed() -> wire.Status:
    """A little of everything, on a machine with one GPU."""
    return status(
        unreachable(),
        resting("coder"),
        on_a_gpu("fast"),
        too_large(),
        with_update(),
        downloading(),
        loading(),
        ready=False,
        memory={"cuda:0": pool(**GPU), "ram": pool(charged_bytes=9 * GIB, limit_bytes=12 * GIB)},
    )


def crowded() -> wire.Status:
    """Programs outside have eaten into the reserve."""
    short = pool(outside_bytes=15 * GIB, room_bytes=-600 * MIB, charged_bytes=192 * MIB)
    return status(model(), resting(), memory={"ram": short})


def many() -> wire.Status:
    """More models than a person would like."""
    plain = [model(f"model-{number:02}", source="demo:small") for number in range(12)]
    return status(
        *plain, *(resting(f"spare-{number}") for number in range(4)), stalled(), swapping(), rejected()
    )


def described() -> wire.Described:
    known = on_a_gpu("fast")
    known["fetch"] = downloading()["fetch"]
    known["waiting"] = 3
    known["desired"] = known["attempted"] = NEW
    known["conditions"] += [
        condition("Fetched", "False", "Fetching", "gemma3:4b is being fetched and checked"),
        condition("Fits", "True", "Fits", "it takes 620 MiB of memory and 4.2 GiB of cuda:0 (measured)"),
        condition("Progressing", "True", "Fetching", "gemma3:4b is being fetched and checked"),
        condition("Drifted", "True", "UpdateFound", "gemma3:4b has a newer version"),
    ]
    spec: dict[str, object] = {"engine": "ollama", "source": "gemma3:4b", "load": "always"}
    return {**known, "spec": spec, "events": [], "problems": []}


def described_resting() -> wire.Described:
    return {**resting(), "spec": {"engine": "llama-cpp"}, "events": [], "problems": []}


def findings() -> wire.Findings:
    """What `doctor` finds."""
    return {
        "this machine": [
            _finding("versions", "orchestrator 0.2.0, Python 3.11.7, linux x86_64"),
            _finding("memory", "15.6 GiB, 11.2 GiB of it available; 1.6 GiB stay free"),
            _finding("GPU", "NVIDIA H200, 139 GiB, driver 570.10"),
            _finding(
                "disk of models", "3.1 GiB free at /home/ada/.cache/orchestrator", fix="make room there"
            ),
        ],
        "llama-cpp": [_finding("llama-cpp-python", "0.3.36")],
        "ollama": [
            _finding("http://127.0.0.1:11434", "nothing answers", fix="start it: ollama serve"),
        ],
    }


def _finding(what: str, found: str, fix: str = "") -> wire.Finding:
    return {"what": what, "ok": not fix, "found": found, "fix": fix}
