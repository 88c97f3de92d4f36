"""Engines by name."""

import pytest

from orchestrator.engines.fake import FakeEngine
from orchestrator.engines.registry import Registry
from orchestrator.errors import EngineUnknown
from tests.builders import spec


def test_a_spec_finds_its_engine() -> None:
    one, other = FakeEngine("llama-cpp"), FakeEngine("mlx")
    registry = Registry(one, other)
    assert registry.of(spec(engine="mlx")) is other
    assert list(registry) == [one, other]


def test_an_unknown_name_is_terminal_and_names_the_known_ones() -> None:
    with pytest.raises(EngineUnknown, match="llama-cpp, mlx") as caught:
        Registry(FakeEngine("mlx"), FakeEngine("llama-cpp")).of(spec(engine="lama"))
    assert caught.value.terminal
    assert caught.value.where == "fast"
