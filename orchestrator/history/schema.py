"""What the history holds: its tables, and how a fact becomes a row."""

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Final

from orchestrator.values.fact import Fact, LifecycleFact, RequestFact

# Step i (from 0) brings a file of version i to i + 1. Append here; never change a step that was released.
STEPS: Final[tuple[str, ...]] = (Path(__file__).with_name("schema.sql").read_text("utf-8"),)
VERSION: Final = len(STEPS)

TABLES: Final[dict[type[Fact], str]] = {RequestFact: "requests", LifecycleFact: "events"}

# Longest text kept in one cell, in characters. A client chooses what it sends as
# `model`; without a limit one of them could fill the disk. A guess.
TEXT_LIMIT: Final = 4096

Cell = str | int | float | bool | datetime | None


def columns(kind: type[Fact]) -> tuple[str, ...]:
    """Return the columns of the table for `kind`, in order: its fields, with `at` named `ts`."""
    return tuple("ts" if field.name == "at" else field.name for field in fields(kind))


_VALUES: Final[dict[type[Fact], Callable[[Fact], tuple[Cell, ...]]]] = {
    kind: attrgetter(*(field.name for field in fields(kind))) for kind in TABLES
}


def row(fact: Fact) -> tuple[Cell, ...]:
    """Return the row for `fact`, in the order of `columns`.

    Instants become naive UTC. Texts longer than TEXT_LIMIT end in "…", and what UTF-8
    cannot hold (half a surrogate pair, which a client's JSON may contain) becomes "?".

    Raises:
        TypeError: `fact.at` is not an aware instant.
    """
    return tuple([_cell(value) for value in _VALUES[type(fact)](fact)])


def _cell(value: Cell) -> Cell:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError("an instant without a time zone cannot be stored")
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, str):
        text = str(value) if len(value) <= TEXT_LIMIT else f"{value[: TEXT_LIMIT - 1]}…"
        return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return value
