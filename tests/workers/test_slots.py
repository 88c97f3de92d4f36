from hypothesis import given
from hypothesis import strategies as st

from orchestrator.workers.slots import Slot, Slots, shared_prefix

tokens = st.lists(st.integers(0, 2), max_size=20)


@given(tokens, tokens)
def test_shared_prefix_is_what_counting_finds(one: list[int], other: list[int]) -> None:
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    assert shared_prefix(one, other) == count


@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(0, 1), min_size=1, max_size=12), st.integers(1, 8))
    )
)
def test_cells_are_never_promised_twice_and_tokens_never_outgrow_them(
    steps: list[tuple[bool, list[int], int]],
) -> None:
    cells = 24
    slots, active = Slots(cells=cells, sequences=5, active_limit=3), list[tuple[Slot, list[int]]]()
    for arrives, prompt, answer in steps:
        placement = slots.place(prompt, len(prompt) + answer) if arrives else None
        if placement is not None:
            slot = placement.slot
            assert not slot.reserved
            assert slot not in placement.evict
            assert placement.kept < len(prompt)
            assert placement.source.tokens[: placement.kept] == prompt[: placement.kept]
            for idle in placement.evict:
                assert not idle.reserved
                slots.forget(idle)
            full = prompt + [2] * answer
            slots.take(slot, full, len(full))
            active.append((slot, full))
        elif not arrives and active:
            slots.release(active.pop(0)[0])
        assert len(active) <= 3
        assert sum(slot.reserved for slot in slots.all) <= cells
        assert sum(len(slot.tokens) for slot in slots.all) <= cells
        assert all(slot.tokens == full for slot, full in active)


def test_a_conversation_goes_on_in_its_own_slot() -> None:
    slots = Slots(cells=100, sequences=4, active_limit=2)
    first = slots.place([1, 2, 3], 10)
    assert first is not None
    slots.take(first.slot, [1, 2, 3, 4], 10)
    slots.release(first.slot)
    again = slots.place([1, 2, 3, 4, 5], 10)
    assert again is not None
    assert (again.slot, again.source, again.kept) == (first.slot, first.slot, 4)


def test_the_prefix_of_an_active_request_is_shared_into_another_slot() -> None:
    slots = Slots(cells=100, sequences=4, active_limit=2)
    first = slots.place([1, 2, 3], 10)
    assert first is not None
    slots.take(first.slot, [1, 2, 3], 10)
    other = slots.place([1, 2, 9], 10)
    assert other is not None
    assert other.slot is not first.slot
    assert (other.source, other.kept) == (first.slot, 2)


def test_the_last_token_of_a_prompt_is_always_left_to_decode() -> None:
    slots = Slots(cells=100, sequences=2, active_limit=1)
    first = slots.place([1, 2, 3], 10)
    assert first is not None
    slots.take(first.slot, [1, 2, 3], 10)
    slots.release(first.slot)
    again = slots.place([1, 2, 3], 10)
    assert again is not None
    assert again.kept == 2


def test_a_request_waits_where_all_slots_or_cells_are_taken() -> None:
    slots = Slots(cells=20, sequences=4, active_limit=2)
    first = slots.place([1], 15)
    assert first is not None
    slots.take(first.slot, [], 15)
    assert slots.place([1], 6) is None
    second = slots.place([1], 5)
    assert second is not None
    slots.take(second.slot, [], 5)
    slots.release(first.slot)
    third = slots.place([2], 5)
    assert third is not None
    slots.take(third.slot, [], 5)
    assert slots.place([3], 1) is None
