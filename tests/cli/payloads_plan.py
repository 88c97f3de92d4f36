"""Plans as the admin API tells them."""

from typing import Any

from orchestrator.cli import wire
from tests.cli.payloads import GIB, MIB, NEW, OLD, pool


def plan() -> wire.Plan:
    policy = _change("default", "live", "otherwise", (["fast"], ["new", "fast"]), "policies/default.yaml:4")
    policy["kind"] = "policy"
    return {
        "changes": [
            _change("fast", "replace", "source", ("demo:tiny", "demo:small"), "models.d/fast.yaml:3"),
            _change("fast", "live", "sampling.temperature", (None, 0.2), "models.d/fast.yaml:7"),
            _change("coder", "reload", "parallel", (2, 4), "models.d/coder.yaml:5"),
            _change("new", "create", "", (None, None), "models.d/new.yaml"),
            _change("old", "remove", "", (None, None), "models.d/old.yaml"),
            policy,
        ],
        "steps": [
            step(
                "load", why="its file asks for it in place of 3f2a91bc04de", ram=(96, 420, 420), takes_s=1.9
            ),
            step("switch", why="new requests go to it instead of 3f2a91bc04de", ram=(420, 420, 420)),
            step("drain", OLD, "fast-1", why="replaced by ab12cd34ef56 (fast-2)", ram=(420, 420, 420)),
            step("unload", OLD, "fast-1", why="replaced; its last request has ended", ram=(420, 420, 324)),
        ],
        "failed": [],
        "problems": [],
        "memory": {"ram": pool()},
        "unfit": [],
    }


def step(  # noqa: PLR0913 (a step has many sides)
    action: str,
    revision: str = NEW,
    replica: str | None = None,
    *,
    model: str = "fast",
    why: str = "its file asks for it",
    ram: tuple[int, int, int] = (0, 0, 0),
    gpu: tuple[int, int, int] | None = None,
    **changes: Any,  # noqa: ANN401 (any field)
) -> wire.Step:
    """A step with its memory in MiB before, at the peak, after."""
    moments = [{"ram": ram[at] * MIB} | ({"cuda:0": gpu[at] * MIB} if gpu else {}) for at in range(3)]
    before, peak, after = moments
    base: wire.Step = {
        "action": action,
        "model": model,
        "revision": revision,
        "replica": replica,
        "why": why,
        "memory": {"before": before, "peak": peak, "after": after},
        "takes_s": None,
        "interrupts": False,
        "unavailable_s": None,
    }
    base.update(changes)  # type: ignore[typeddict-item] # the test says which
    return base


def in_place() -> wire.Plan:
    """Both revisions do not fit, on two pools; and one model can never be loaded."""
    whole = pool(
        total_bytes=8 * GIB,
        reserve_bytes=512 * MIB,
        outside_bytes=0,
        room_bytes=7680 * MIB,
        charged_bytes=4300 * MIB,
    )
    return {
        "problems": [],
        "failed": [],
        "changes": [
            _change("fast", "replace", "source", ("gemma3:4b", "gemma3n:e4b"), "models.d/fast.yaml:3"),
        ],
        "steps": [
            step("fetch", why="its file asks for it", gpu=(4300, 4300, 4300), ram=(1024, 1024, 1024)),
            step(
                "drain",
                OLD,
                "fast-1",
                why="revision ab12cd34ef56 takes its place: both do not fit into memory",
                gpu=(4300, 4300, 4300),
                ram=(1024, 1024, 1024),
            ),
            step(
                "unload",
                OLD,
                "fast-1",
                why="its last request has ended",
                gpu=(4300, 4300, 0),
                ram=(1024, 1024, 400),
            ),
            step("load", gpu=(0, 7200, 7200), ram=(400, 1024, 1024), takes_s=3.2),
            step(
                "switch",
                why="new requests go to it",
                gpu=(7200, 7200, 7200),
                ram=(1024, 1024, 1024),
                interrupts=True,
                unavailable_s=3.2,
            ),
        ],
        "memory": {
            "ram": pool(charged_bytes=GIB),
            "cuda:0": whole,
        },
        "unfit": [
            {
                "model": "huge",
                "why": "it needs 42.0 GiB of memory, and 14.4 GiB of memory is the whole budget",
                "fix": "lower its context or parallel, choose a smaller quantisation, or unload other models",
            }
        ],
    }


def empty() -> wire.Plan:
    return {"changes": [], "steps": [], "failed": [], "problems": [], "memory": {"ram": pool()}, "unfit": []}


def _change(name: str, kind: str, field: str, values: tuple[object, object], where: str) -> wire.Change:
    path, _, line = where.partition(":")
    return {
        "kind": "model",
        "name": name,
        "class": kind,
        "field": field,
        "old": values[0],
        "new": values[1],
        "path": path,
        "line": int(line or 0),
    }
