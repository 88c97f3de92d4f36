"""Choosing in mlx keeps to llama.cpp's order, and to its numbers."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

pytest.importorskip("mlx.core", reason="mlx is not made for this machine")

import mlx.core as mx

from orchestrator.workers.mlx.sampling import MlxSampler, greedy
from orchestrator.workers.params import SamplingParams

CHANCES = (0.5, 0.25, 0.15, 0.07, 0.03)
EVERYTHING = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0}


def logits_of(chances: tuple[float, ...] = CHANCES) -> mx.array:
    return mx.array([[math.log(chance) for chance in chances]])


def token_of(sampled: Any) -> int:  # noqa: ANN401 (an array's items are of many types)
    return int(sampled.item())


def drawn(params: Mapping[str, float], count: int = 300) -> Counter[int]:
    settings: dict[str, Any] = {**EVERYTHING, "seed": 7, **params}
    sampler = MlxSampler(SamplingParams(**settings), ending=(0,))
    return Counter(token_of(sampler.choose(logits_of())) for _ in range(count))


def test_everything_is_drawn_by_its_chance() -> None:
    counts = drawn({}, 1500)
    for token, chance in enumerate(CHANCES):
        assert counts[token] / 1500 == pytest.approx(chance, abs=0.04)


@pytest.mark.parametrize(
    ("params", "possible"),
    [
        ({"top_k": 1}, {0}),
        ({"top_k": 2}, {0, 1}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.74}, {0, 1}),  # until the sum is reached, and not beyond
        ({"top_p": 0.76}, {0, 1, 2}),
        ({"top_p": 0.0}, {0}),  # the likeliest one always
        ({"min_p": 0.2}, {0, 1, 2}),  # a part of the likeliest one's chance
        ({"min_p": 1.0}, {0}),
        ({"top_k": 3, "top_p": 0.6}, {0, 1}),  # of what the one before has left
    ],
)
def test_only_what_the_limits_leave_is_drawn(params: dict[str, float], possible: set[int]) -> None:
    assert set(drawn(params)) == possible


def test_heat_flattens_and_cold_sharpens() -> None:
    assert drawn({"temperature": 5.0})[4] > 30
    assert drawn({"temperature": 0.2})[0] > 280


def test_a_seed_repeats_its_draws() -> None:
    def row(seed: int | None) -> list[int]:
        sampler = MlxSampler(SamplingParams(temperature=1.0, seed=seed, top_k=0, top_p=1, min_p=0), ending=())
        return [token_of(sampler.choose(logits_of())) for _ in range(30)]

    assert row(3) == row(3)
    assert row(3) != row(4)
    assert row(-1) == row(-1)
    assert row(None) != row(None)


def test_without_heat_all_requests_share_one_function() -> None:
    sampler = MlxSampler(SamplingParams(temperature=0), ending=())
    assert sampler.choose is greedy
    assert token_of(greedy(logits_of())) == 0


def test_penalties_and_biases_follow_llama_cpp_s_formulas() -> None:
    params = SamplingParams(
        bias={2: 1.5},
        repeat_penalty=2.0,
        presence_penalty=0.25,
        frequency_penalty=0.5,
        ignore_eos=True,
    )
    logits = mx.array([[1.0, -1.0, 1.0, 4.0]])
    tokens = mx.array([0, 0, 1])
    for processor in MlxSampler(params, ending=(3,)).processors:
        logits = processor(tokens, logits)
    changed: Any = logits[0].tolist()
    first, second, third, end = changed
    assert first == pytest.approx(1.0 / 2 - 0.25 - 2 * 0.5)  # above 0: divided
    assert second == pytest.approx(-1.0 * 2 - 0.25 - 0.5)  # below 0: multiplied
    assert third == pytest.approx(1.0 + 1.5)
    assert end < -1e8


def test_a_plain_request_changes_no_logits() -> None:
    assert MlxSampler(SamplingParams(), ending=(0,)).processors == []
