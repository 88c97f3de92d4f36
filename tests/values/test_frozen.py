"""Every noun is frozen, small, and written with the names of its fields."""

import importlib
import pkgutil
from dataclasses import is_dataclass
from typing import Any

import pytest

from orchestrator import decide, values


def nouns(package: Any) -> list[Any]:  # noqa: ANN401 (a module)
    modules = [
        importlib.import_module(m.name)
        for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]
    return [
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type) and is_dataclass(thing) and thing.__module__ == module.__name__
    ]


def test_there_are_some() -> None:
    assert {"ModelSpec", "Replica", "Condition"} <= {noun.__name__ for noun in nouns(values)}


@pytest.mark.parametrize("noun", [*nouns(values), *nouns(decide)], ids=lambda noun: noun.__name__)
def test_it_is_frozen_and_has_no_room_for_more(noun: Any) -> None:  # noqa: ANN401 (a dataclass)
    assert noun.__dataclass_params__.frozen
    assert "__slots__" in vars(noun)


@pytest.mark.parametrize("noun", nouns(values), ids=lambda noun: noun.__name__)
def test_its_fields_are_named_where_it_is_made(noun: Any) -> None:  # noqa: ANN401 (a dataclass)
    assert all(field.kw_only for field in noun.__dataclass_fields__.values() if field.init)
