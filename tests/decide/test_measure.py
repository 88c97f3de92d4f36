"""What is learnt of a launch from its replicas."""

from dataclasses import replace

import pytest

from orchestrator.decide.measure import measured
from orchestrator.values.fleet import Running
from orchestrator.values.memory import RAM, Footprint, Pools
from orchestrator.values.state import State
from tests.builders import replica, running, spec

SPEC = spec()
REPLICA = replica(SPEC)
KNOWN = Footprint(estimated={RAM: 2000}, measured={RAM: 1000}, load_s=3.0, engine_version="1", exclusive="x")


def seen(ram: int, gpu: int = 0) -> Running:
    return replace(running(), memory_bytes=ram, gpu_bytes=(("cuda:0", gpu),) if gpu else ())


CASES: list[tuple[str, Footprint, Running, float | None, Footprint]] = [
    ("the first look is kept", Footprint(), seen(500), None, Footprint(measured={RAM: 500})),
    ("the most that was ever seen is kept", KNOWN, seen(1500), None, replace(KNOWN, measured={RAM: 1500})),
    ("less is no news", KNOWN, seen(500), None, KNOWN),
    ("a little more is not worth a write", KNOWN, seen(1009), None, KNOWN),
    ("an engine that cannot tell tells nothing", KNOWN, seen(0), None, KNOWN),
    (
        "every pool is kept for itself",
        KNOWN,
        seen(500, 700),
        None,
        replace(KNOWN, measured={RAM: 1000, "cuda:0": 700}),
    ),
    ("the last load time is kept", KNOWN, seen(0), 1.5, replace(KNOWN, load_s=1.5)),
]


@pytest.mark.parametrize(
    ("before", "now", "load_s", "after"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_measured(before: Footprint, now: Running, load_s: float | None, after: Footprint) -> None:
    held = State(footprints={SPEC.launch: before, "other": KNOWN})
    found = measured(held, REPLICA, now, load_s=load_s)
    assert found.footprints == {SPEC.launch: after, "other": KNOWN}
    assert (found is held) == (before == after), "nothing is written where nothing is learnt"


def test_what_is_taken_by_pool() -> None:
    assert seen(5, 7).memory == {RAM: 5, "cuda:0": 7}
    nothing: Pools = {}
    assert seen(0).memory == nothing
