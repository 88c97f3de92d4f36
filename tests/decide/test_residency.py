"""How long a replica stays though others want its memory: bounded loading, bounded waits."""

from dataclasses import replace
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given

from orchestrator.decide.evict import leaves_at, residency_s
from orchestrator.values.demand import NO_DEMAND, Demand
from orchestrator.values.memory import Footprint
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen
from orchestrator.values.state import State
from tests.builders import NOW, replica, spec, state

LAZY = spec(load=LoadWhen.ON_DEMAND)
HERE = replica(LAZY)
LIMITS = Limits(min_residency_s=2, wait_s=30)


def loads_in(load_s: float | None) -> State:
    return replace(state(LAZY, HERE), footprints={LAZY.launch: Footprint(load_s=load_s)})


@pytest.mark.parametrize(
    ("load_s", "stays_s"),
    [
        (None, 2.0),  # nothing was measured: the setting
        (0.1, 2.0),  # no shorter than the setting
        (1.0, 5.0),  # in proportion to its load
        (5.0, 15.0),  # no longer than others can wait
        (9.0, 9.0),  # and never shorter than its load
        (20.0, 20.0),
    ],
)
def test_residency_is_in_proportion_to_the_load_and_within_what_others_wait(
    load_s: float | None, stays_s: float
) -> None:
    assert residency_s(loads_in(load_s), HERE, LIMITS) == stays_s


@given(st.floats(0.01, 7.5), st.floats(0.0, 5.0), st.floats(30.0, 300.0))
def test_two_loads_and_the_residency_of_another_end_before_a_request_has_waited_for_too_long(
    load_s: float, least_s: float, wait_s: float
) -> None:
    stays_s = residency_s(loads_in(load_s), HERE, Limits(min_residency_s=least_s, wait_s=wait_s))
    assert 2 * load_s + stays_s <= wait_s
    assert stays_s >= load_s


@pytest.mark.parametrize(
    ("unused_s", "load_s", "leaves_s"),
    [
        (0.0, 1.0, 0.25),  # a client between two requests keeps it
        (0.0, 4.0, 1.0),  # the longer, the more it costs to load it again
        (-10.0, 4.0, -9.0),  # nobody has used it for a while: at once
    ],
)
def test_what_nobody_uses_does_not_stay_out_its_residency(
    unused_s: float, load_s: float, leaves_s: float
) -> None:
    demand = Demand(idle_since={HERE.id: NOW + timedelta(seconds=unused_s)})
    at = leaves_at(loads_in(load_s), HERE, demand, LIMITS, NOW)
    assert at == NOW + timedelta(seconds=leaves_s)


def test_what_is_in_use_stays_out_its_residency() -> None:
    busy = replace(NO_DEMAND, leases={HERE.id: 1})
    assert leaves_at(loads_in(1.0), HERE, busy, LIMITS, NOW) == NOW + timedelta(seconds=5)
