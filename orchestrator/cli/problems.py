"""Problems of files, as a compiler would print them."""

from collections.abc import Iterable

from orchestrator.cli import wire
from orchestrator.cli.terminal import Terminal
from orchestrator.config.show import render
from orchestrator.values.catalog import Problem


def problem_lines(problems: Iterable[wire.Problem], terminal: Terminal) -> list[str]:
    """Return the lines of every problem: its place and what it is, the source line with a caret, the fix."""
    lines: list[str] = []
    for problem in problems:
        head, *rest = render(Problem(**problem)).splitlines()
        lines.append(terminal.paint(terminal.text(head), "red"))
        for line in rest:
            is_fix = line.lstrip().startswith("fix:")
            lines.append(terminal.paint(terminal.text(line), "green" if is_fix else ""))
    return lines
