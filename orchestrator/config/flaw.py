"""Something wrong at a place of one text, and how it becomes a problem that people read."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from orchestrator.values.catalog import Problem

At: TypeAlias = tuple[str | int, ...]
"""A path into data: keys and indexes from the root."""

Place: TypeAlias = tuple[int, int]
"""Line and column, from 1."""

# What YAML counts as the end of a line; `str.splitlines` knows more of them.
LINE_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")

# A text of noise would otherwise fill the log; the first ones say what there is to say.
MOST_PER_FILE: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """A problem whose file is known from the context. `line` 0 means the text as a whole."""

    what: str
    fix: str = ""
    line: int = 0
    column: int = 0


def problems(
    path: str, text: str, flaws: Iterable[Flaw], *, secret_lines: frozenset[int] = frozenset()
) -> tuple[Problem, ...]:
    """Return the flaws as problems of `path`, in the order of their places, with their source lines.

    Lines in `secret_lines` are never shown.
    """
    found = sorted(flaws, key=lambda flaw: (flaw.line, flaw.column))
    if not found:
        return ()
    lines = LINE_BREAK.split(text)
    shown = [_problem(path, lines, flaw, secret_lines) for flaw in found[:MOST_PER_FILE]]
    if len(found) > MOST_PER_FILE:
        more = f"{len(found) - MOST_PER_FILE} more problems are not listed"
        shown.append(Problem(path=path, what=more, fix="correct the ones above first"))
    return tuple(shown)


def _problem(path: str, lines: Sequence[str], flaw: Flaw, secret_lines: frozenset[int]) -> Problem:
    visible = 0 < flaw.line <= len(lines) and flaw.line not in secret_lines
    return Problem(
        path=path,
        line=flaw.line,
        column=flaw.column,
        what=flaw.what,
        fix=flaw.fix,
        excerpt=lines[flaw.line - 1] if visible else "",
    )
