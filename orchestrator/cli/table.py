"""Aligned columns of text: no frames, readable by people and by `awk`."""

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.cli.terminal import Terminal, harmless

GAP: Final = "  "
# Narrower than this, a sentence is easier to read under its row than in a column.
NARROWEST_NOTE: Final = 32
# What the column that gives way keeps, if that makes room for the notes.
ENOUGH: Final = 24


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """`shrink` marks the one column that gives way where the terminal is too narrow."""

    title: str
    right: bool = False
    shrink: bool = False


def cells(text: str) -> int:
    """Return the columns that `text` takes on a terminal."""
    return sum(_wide(char) for char in text)


def _wide(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """Return `text` in at most `width` columns, its middle left out: of a path the end tells most."""
    if cells(text) <= width:
        return text
    kept = max(0, width - cells(ellipsis))
    return _start(text, kept // 3) + ellipsis + _start(text[::-1], kept - kept // 3)[::-1]


def _start(text: str, width: int) -> str:
    """Return as much of the beginning of `text` as takes at most `width` columns."""
    taken = 0
    for at, char in enumerate(text):
        taken += _wide(char)
        if taken > width:
            return text[:at]
    return text


def paragraph(
    terminal: Terminal, text: str, *, first: str = "", indent: int = 0, style: str = ""
) -> list[str]:
    """Return `text` painted and wrapped to the terminal, after `first` (painted, `indent` columns wide)."""
    room = None if terminal.width is None else terminal.width - indent
    head, *rest = _wrapped(terminal, text, room)
    space = " " * indent
    return [
        (first or space) + terminal.paint(head, style),
        *(space + terminal.paint(part, style) for part in rest),
    ]


def _wrapped(terminal: Terminal, text: str, room: int | None) -> list[str]:
    text = terminal.text(harmless(" ".join(text.split())))
    return (textwrap.wrap(text, max(1, room)) if room else [text]) or [""]


def render(
    terminal: Terminal,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    notes: Sequence[Cell] = (),
    *,
    note_title: str = "NOTE",
) -> list[str]:
    """Return the lines of a table, painted.

    `notes` holds one sentence per row. They form a last column where there is
    room for it (wrapped to the terminal), else each is put under its row.
    """
    rows = [[Cell(terminal.text(harmless(cell.text)), cell.style) for cell in row] for row in rows]
    has_notes = any(note.text for note in notes)
    widths, beside = _layout(terminal.width, columns, rows, has_notes=has_notes)
    note_at = sum(widths) + len(GAP) * len(widths)
    head = [Cell(column.title, "bold") for column in columns]
    lines = [
        _row(terminal, columns, widths, head) + (GAP + terminal.paint(note_title, "bold") if beside else "")
    ]
    for at, row in enumerate(rows):
        note = notes[at] if at < len(notes) else Cell("")
        line = _row(terminal, columns, widths, row)
        if not note.text:
            lines.append(line.rstrip())
        elif beside:
            lines += paragraph(terminal, note.text, first=line + GAP, indent=note_at, style=note.style)
        else:
            mark = "  " + terminal.paint(terminal.text("└ "), note.style)
            under = paragraph(terminal, note.text, first=mark, indent=4, style=note.style)
            lines += [line.rstrip(), *under]
    return [line.rstrip() for line in lines]


def _layout(
    width: int | None, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, has_notes: bool
) -> tuple[list[int], bool]:
    """Return the columns' widths, and whether the notes fit beside them."""
    widths = [
        max(cells(column.title), *(cells(row[at].text) for row in rows), 0)
        for at, column in enumerate(columns)
    ]
    if width is None:
        return widths, has_notes
    at = next((at for at, column in enumerate(columns) if column.shrink), None)
    spare = width - (sum(widths) + len(GAP) * (len(columns) - 1))
    need = len(GAP) + NARROWEST_NOTE
    if has_notes and at is not None and spare < need <= spare + max(0, widths[at] - ENOUGH):
        widths[at] -= need - spare
        return widths, True
    if spare < 0 and at is not None:
        widths[at] = max(len(columns[at].title), widths[at] + spare)
    return widths, has_notes and spare >= need


def _row(terminal: Terminal, columns: Sequence[Column], widths: Sequence[int], row: Sequence[Cell]) -> str:
    """Return one line, padded to the full width of the columns."""
    parts: list[str] = []
    for column, width, cell in zip(columns, widths, row, strict=True):
        text = shorten(cell.text, width, terminal.text("…"))
        space = " " * (width - cells(text))
        painted = terminal.paint(text, cell.style)
        parts.append(space + painted if column.right else painted + space)
    return GAP.join(parts)
