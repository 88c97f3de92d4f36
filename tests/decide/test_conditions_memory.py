"""Fits, Drifted, and what they mean for the other conditions."""

from dataclasses import replace

import pytest

from orchestrator.decide.fold import fold
from orchestrator.decide.serving import NO_ROOM_FIX
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.event import Observed, ReloadAsked
from orchestrator.values.memory import Footprint
from orchestrator.values.spec import ModelSpec, ModelState
from orchestrator.values.state import State
from tests.builders import NOW, running
from tests.decide.machine import GIB, always, gib, later, machine, ready

A, B, NEW = always("a"), always("b"), always("a", location="new")
FITS = ConditionType.FITS
DEGRADED, DRIFTED, STALLED = ConditionType.DEGRADED, ConditionType.DRIFTED, ConditionType.STALLED
TRUE, FALSE, UNKNOWN = Truth.TRUE, Truth.FALSE, Truth.UNKNOWN


def looked_at(held: State, model: str = "a") -> dict[ConditionType, tuple[Truth, str, str]]:
    """The conditions of a model as they stand."""
    found = fold(held, ReloadAsked(at=NOW)).state.models[model].conditions
    return {kind: (each.status, each.reason, each.message) for kind, each in found.items()}


def knows(of: ModelSpec, **known: object) -> State:
    return replace(machine(of), footprints={of.launch: Footprint(**known)})  # type: ignore[arg-type] # by case


TOO_LARGE = "it needs 9.0 GiB of memory, and 8.0 GiB of memory is the whole budget"
CASES: list[tuple[str, State, ConditionType, tuple[Truth, str, str]]] = [
    (
        "an absent model takes none",
        machine(always("a", state=ModelState.ABSENT)),
        FITS,
        (UNKNOWN, "NotWanted", "a model that is not wanted takes no memory"),
    ),
    (
        "nothing is known before it was fetched",
        replace(machine(A), footprints={}),
        FITS,
        (UNKNOWN, "NotKnown", "not looked at yet"),
    ),
    (
        "what runs elsewhere takes none",
        knows(A),
        FITS,
        (TRUE, "Elsewhere", "it takes no memory of this machine, as far as its engine can tell"),
    ),
    (
        "what was estimated says so",
        knows(A, estimated=gib(ram=2, gpu=0)),
        FITS,
        (TRUE, "Fits", "it takes 2.0 GiB of memory and 0 KiB of cuda:0 (estimated)"),
    ),
    (
        "what was measured says so",
        knows(A, estimated=gib(ram=2), measured=gib(ram=1)),
        FITS,
        (TRUE, "Fits", "it takes 1.0 GiB of memory (measured)"),
    ),
    (
        "so does what its file says",
        machine(always("a", memory_bytes=3 * GIB)),
        FITS,
        (TRUE, "Fits", "it takes 3.0 GiB of memory (its file says)"),
    ),
    ("what can never fit", machine(A, takes={"a": 9}), FITS, (FALSE, "NeverFits", TOO_LARGE)),
    (
        "and waits for somebody to act",
        machine(A, takes={"a": 9}),
        STALLED,
        (TRUE, "NeverFits", f"{TOO_LARGE}; fix: {NO_ROOM_FIX}"),
    ),
    (
        "while its old revision serves",
        machine(NEW, replicas=[ready(A)], takes={"new": 9}),
        DEGRADED,
        (
            TRUE,
            "NeverFits",
            f"revision {NEW.revision} can not be loaded: {TOO_LARGE}; still serving {A.revision}",
        ),
    ),
    (
        "what has changed under the daemon's hands has drifted",
        machine(A, replicas=[ready(A, running=replace(running("a"), drift="it holds another blob"))]),
        DRIFTED,
        (TRUE, "Changed", "it holds another blob"),
    ),
]


@pytest.mark.parametrize(("held", "kind", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_condition(held: State, kind: ConditionType, expected: tuple[Truth, str, str]) -> None:
    assert looked_at(held)[kind] == expected


def test_two_models_with_weights_that_the_engine_holds_once() -> None:
    shared = {each.launch: Footprint(exclusive="sha256:ab") for each in (A, B)}
    held = replace(machine(A, B), footprints=shared)
    assert looked_at(held, "b")[FITS][:2] == (FALSE, "SharesWeights")
    assert looked_at(held, "a")[FITS][:2] == (TRUE, "Elsewhere")


def test_drift_is_told_as_soon_as_it_is_seen_and_taken_back_as_soon_as_it_is_over() -> None:
    held = fold(machine(A, replicas=[ready(A)]), ReloadAsked(at=NOW)).state
    for drift, expected in (("it holds another blob", TRUE), ("", FALSE)):
        now = replace(running("a"), drift=drift)
        held = fold(held, Observed(at=later(1), running={"llama-cpp": {"a": now}}, draw=0.0)).state
        assert held.models["a"].conditions[DRIFTED].status is expected
