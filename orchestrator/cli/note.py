"""What to say about one model: whether it is as its file asks, and the one sentence that matters."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orchestrator.cli import wire, words
from orchestrator.cli.show_memory import fetching, taken
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.spec import ModelState

# What a file may ask for that means serving; a model whose file is gone has the state "removed".
SERVED: Final = {ModelState.ACTIVE, ModelState.TESTING, ModelState.DEPRECATED}
# Conditions that are news when they are true, the most pressing first, each with its colour.
ALARMING: Final = {
    ConditionType.STALLED: "red",
    ConditionType.PROGRESSING: "cyan",
    ConditionType.DEGRADED: "yellow",
}


# The reason of Ready for a model that is loaded when a request asks for it.
ON_DEMAND: Final = "OnDemand"


# How many waited when a load was begun; how many wait now says more.
ASKED_FOR: Final = re.compile(r": (a request waits|\d+ requests wait) for it$")


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    style: str = ""


def condition(model: wire.Model, kind: ConditionType) -> wire.Condition | None:
    """Return the model's condition of this type; None where nothing is known of it."""
    return next((c for c in model["conditions"] if c["type"] == kind), None)


def holds(model: wire.Model, kind: ConditionType) -> bool:
    """Return whether the condition is known to be true."""
    found = condition(model, kind)
    return found is not None and found["status"] == Truth.TRUE


def rests(model: wire.Model) -> bool:
    """Return whether the model is unloaded because nobody asks for it, and would be loaded then."""
    ready = condition(model, ConditionType.READY)
    return ready is not None and ready["reason"] == ON_DEMAND


def wanted(model: wire.Model) -> bool:
    """Return whether the model's file asks for it to be served."""
    return model["state"] in SERVED


def as_asked(model: wire.Model) -> bool:
    """Return whether the model is what its file asks for, and nothing about it is under way or wrong."""
    if any(holds(model, kind) for kind in ALARMING):
        return False
    if not wanted(model):
        return not model["replicas"]
    serving = model["serving"]
    if rests(model):
        return True
    return (
        holds(model, ConditionType.READY) and serving is not None and serving["revision"] == model["desired"]
    )


def all_well(status: wire.Status) -> bool:
    """Return whether nothing is wrong or still under way anywhere."""
    return (
        status["ready"]
        and not status["problems"]
        and not status["held"]
        and status["state"]["ok"]
        and status["history"]["ok"]
        and all(as_asked(model) for model in status["models"])
    )


def note(model: wire.Model, problems: Iterable[wire.Problem], now: datetime) -> Note:
    """Return the one sentence that matters about `model`; empty where there is nothing to say.

    What a person has to act on comes first: a file that is not accepted, a
    revision that will not load; then what is under way; then what is merely
    worth knowing.
    """
    return (
        _of_file(model, problems)
        or _of_fetch(model)
        or _of_desired(model, now)
        or _of_conditions(model)
        or _of_state(model)
    )


def _of_fetch(model: wire.Model) -> Note | None:
    return Note(fetching(model["fetch"]), "cyan") if model["fetch"] else None


def _of_file(model: wire.Model, problems: Iterable[wire.Problem]) -> Note | None:
    for problem in problems:
        if problem["path"] == model["path"]:
            path, line, column = problem["path"], problem["line"], problem["column"]
            where = f"{path}:{line}:{column}" if line else path
            return Note(f"{where} not accepted, serving generation {model['generation']}", "yellow")
    return None


def _of_desired(model: wire.Model, now: datetime) -> Note | None:
    rejected = next((r for r in model["rejected"] if r["revision"] == model["desired"]), None)
    if rejected is None:
        return None
    failed = f"revision {words.revision(rejected['revision'])} failed: {rejected['message'].rstrip('.')}"
    fix = f"; fix: {rejected['fix']}" if rejected["fix"] else ""
    if rejected["retry_at"]:
        way_out = f"; trying again {words.until(rejected['retry_at'], now)}{fix}"
    else:
        way_out = f"{fix}; then: orchestrator reload" if fix else "; edit its file, or: orchestrator reload"
    serving = model["serving"]
    if serving is None:
        return Note(failed + way_out, "red")
    return Note(f"new {failed}; still serving {words.revision(serving['revision'])}{way_out}", "yellow")


def _of_conditions(model: wire.Model) -> Note | None:
    for kind, style in ALARMING.items():
        found = condition(model, kind)
        if found is not None and found["status"] == Truth.TRUE:
            said = ASKED_FOR.sub("", found["message"]) if model["waiting"] else found["message"]
            return Note(said + _queue(model), style)
    drifted = condition(model, ConditionType.DRIFTED)
    if drifted is not None and drifted["status"] == Truth.TRUE:
        return Note(drifted["message"], "yellow")
    if rests(model):
        return Note(f"on demand{_cost(model)}{_queue(model)}", "dim")
    ready = condition(model, ConditionType.READY)
    if not wanted(model) or (ready is not None and ready["status"] == Truth.TRUE):
        return None
    return Note(ready["message"] if ready else "nothing is known of it yet", "red")


def _queue(model: wire.Model) -> str:
    """Return how many requests wait for the model."""
    waiting = model["waiting"]
    if not waiting:
        return ""
    return f"; {words.count(waiting, 'request')} {'waits' if waiting == 1 else 'wait'}"


def _cost(model: wire.Model) -> str:
    """Return what loading the model is known to take."""
    takes = model["takes"]
    if takes is None:
        return ""
    needed = taken(takes["need"])
    known = [f"takes {needed}"] if needed else []
    known += [f"loads in {words.about(takes['load_s'])}"] if takes["load_s"] is not None else []
    return f": {', '.join(known)}" if known else ""


def _of_state(model: wire.Model) -> Note:
    match model["state"]:
        case ModelState.TESTING:
            return Note("served only by its name", "dim")
        case ModelState.DEPRECATED:
            return Note("served only by its name, and every answer says that it is deprecated", "dim")
        case _:
            return Note("")
