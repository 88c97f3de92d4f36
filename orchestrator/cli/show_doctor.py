"""`doctor` as text: a section per engine and for the machine, a mark and a line per finding."""

from typing import Final

from orchestrator.cli import wire, words
from orchestrator.cli.table import paragraph
from orchestrator.cli.terminal import Terminal

# Where the findings begin, beyond what they are about.
AT: Final = 8


def doctor_lines(found: wire.Findings, terminal: Terminal) -> list[str]:
    """Return everything, what is missing with the command that mends it."""
    lines: list[str] = []
    missing = 0
    for about, findings in found.items():
        lines.append(terminal.paint(about, "bold"))
        width = max((len(finding["what"]) for finding in findings), default=0)
        for finding in findings:
            mark = terminal.paint("ok", "green") if finding["ok"] else terminal.paint("--", "yellow")
            first = f"  {mark}  {finding['what']:<{width}}  "
            lines += paragraph(terminal, finding["found"] or "-", first=first, indent=width + AT)
            if finding["fix"]:  # on a line of its own, so that it can be copied whole
                lines.append(f"{'':<{width + AT}}{terminal.paint('fix:', 'green')} {finding['fix']}")
            missing += not finding["ok"]
        lines.append("")
    if not missing:
        return [*lines, "Everything is there."]
    return [*lines, f"{words.count(missing, 'thing')} missing; only models that need one are held up by it."]
