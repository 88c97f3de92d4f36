"""From numbers to pools."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engines.memory.gauge import Level, metal_limit, outside_of, ram_pool, set_aside_pages
from orchestrator.values.memory import Pool

GIB = 1 << 30


def level(total_gib: float, available_gib: float) -> Level:
    return Level(total_bytes=round(total_gib * GIB), available_bytes=round(available_gib * GIB))


def test_what_replicas_hold_is_not_outside() -> None:
    pool = ram_pool([level(32, 20)], held=8 * GIB, reserve=None, limit=None)
    assert pool == Pool(total=32 * GIB, reserve=32 * GIB // 10, outside=4 * GIB)
    assert pool.room == 28 * GIB - 32 * GIB // 10


def test_small_machines_keep_a_gibibyte() -> None:
    assert ram_pool([level(4, 3)], held=0, reserve=None, limit=None).reserve == GIB
    assert ram_pool([level(0.5, 0.2)], held=0, reserve=None, limit=None).room <= 0


def test_the_settings_decide() -> None:
    pool = ram_pool([level(32, 30)], held=0, reserve=0, limit=5 * GIB)
    assert (pool.reserve, pool.limit, pool.room) == (0, 5 * GIB, 5 * GIB)


def test_the_tightest_bound_decides_whichever_it_is() -> None:
    inner_full = ram_pool([level(64, 60), level(8, 2)], held=GIB, reserve=0, limit=None)
    assert (inner_full.total, inner_full.outside) == (8 * GIB, 5 * GIB)
    machine_full = ram_pool([level(64, 1), level(8, 6)], held=GIB, reserve=0, limit=None)
    assert (machine_full.total, machine_full.outside, machine_full.room) == (8 * GIB, 6 * GIB, 2 * GIB)


def test_a_reading_that_is_older_than_another_makes_no_negative_numbers() -> None:
    assert ram_pool([level(8, 7)], held=3 * GIB, reserve=0, limit=None).outside == 0
    assert outside_of(Pool(total=GIB), 9 * GIB).outside == GIB


sizes = st.integers(0, 1 << 40)


@given(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=3), sizes, st.none() | sizes, st.none() | sizes)
def test_replicas_may_have_what_they_hold_and_what_is_free_less_the_reserve(
    bounds: list[tuple[int, int]], held: int, reserve: int | None, limit: int | None
) -> None:
    levels = [Level(total_bytes=max(pair), available_bytes=min(pair)) for pair in bounds]
    pool = ram_pool(levels, held=held, reserve=reserve, limit=limit)
    assert 0 <= pool.outside <= pool.total == min(level.total_bytes for level in levels)
    available = min(level.available_bytes for level in levels)
    assert (
        pool.room <= max(held + available, available) - pool.reserve or pool.outside == 0 or limit is not None
    )
    assert limit is None or pool.room <= limit


@pytest.mark.parametrize(
    ("total_gib", "wired_mb", "limit_gib"),
    [(24, 0, 16), (48, 0, 36), (24, 20 * 1024, 20), (24, 99 * 1024, 24)],
)
def test_metal_takes_no_more_than_its_share(total_gib: int, wired_mb: int, limit_gib: int) -> None:
    assert metal_limit(total_gib * GIB, wired_limit_mb=wired_mb) == limit_gib * GIB


ZONES = """
Node 0, zone   Normal
  pages free     4601234
        high     24512
      nr_free_pages 4601234
  pagesets
    cpu: 0
              count:    10347
              high:     10717
              batch:    63
    cpu: 1
              count:    113026
              high:     113252
"""


def test_what_processors_keep_of_freed_memory_is_free() -> None:
    assert set_aside_pages(ZONES) == 10347 + 113026
    assert set_aside_pages("") == 0
