"""Problems as a compiler shows them: place, what, source line, caret, fix."""

import unicodedata
from typing import Final

from orchestrator.config.paths import MODELS, POLICIES, SETTINGS_FILE
from orchestrator.values.catalog import Problem, Reading

# A longer source line is cut around the place that matters.
WIDEST: Final = 100
BEFORE: Final = 60


def render(problem: Problem) -> str:
    """Return one problem as lines for people, without a line break at the end."""
    lines = [_plain(f"{problem.where}: {problem.what}")]
    if problem.excerpt.strip():
        source, caret = _source(problem.excerpt, problem.column)
        lines += [f"  {source}", f"  {caret}"]
    if problem.fix:
        lines.append(_plain(f"  fix: {problem.fix}"))
    return "\n".join(lines)


def report(reading: Reading) -> str:
    """Return everything that one scan found wrong, and what is in force instead; "" for nothing."""
    parts = [render(problem) for problem in reading.problems]
    parts += [f"{held.path}: {held.why}\n  fix: {CONFIRM}" for held in reading.held]
    if reading.problems:
        count = len(reading.problems)
        parts.append("; ".join((f"{count} problem{'s' if count > 1 else ''}", *_in_force(reading))))
    return "\n".join(parts)


CONFIRM: Final = "put the files back, or confirm with `orchestrator reload --confirm-removal`"


def _in_force(reading: Reading) -> list[str]:
    """Return one clause for each file with problems."""
    accepted = {document.path: document.generation for document in reading.catalog.models.values()}
    accepted |= {document.path: document.generation for document in reading.catalog.policies.values()}
    clauses = []
    for path in dict.fromkeys(problem.path for problem in reading.problems):
        if path in accepted:
            clauses.append(f"{path} stays at its last accepted version (generation {accepted[path]})")
        elif path.startswith((f"{MODELS}/", f"{POLICIES}/")):
            clauses.append(f"{path} is not in force")
        elif path == SETTINGS_FILE:
            clauses.append(f"{path} is not taken up")
    return [_plain(clause) for clause in clauses]


def _source(excerpt: str, column: int) -> tuple[str, str]:
    """Return the source line and the line with the caret below its column."""
    start = 0
    if len(excerpt) > WIDEST:
        start = max(0, min(column - 1 - BEFORE, len(excerpt) - WIDEST))
    shown = excerpt[start : start + WIDEST]
    before = shown[: max(0, column - 1 - start)]
    return _plain(shown, keep="\t"), "".join(_blank(letter) for letter in before) + "^"


def _blank(letter: str) -> str:
    """Return white space as wide as the letter on a terminal."""
    if letter == "\t":
        return "\t"
    if unicodedata.combining(letter):
        return ""
    return "  " if unicodedata.east_asian_width(letter) in "WF" else " "


def _plain(text: str, keep: str = "") -> str:
    """Return the text without characters that could move a terminal's cursor."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)
