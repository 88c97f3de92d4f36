"""`reload` as text: what changed, what is wrong, what is settled."""

from datetime import datetime
from typing import Final

from orchestrator.cli import wire, words
from orchestrator.cli.note import as_asked, note
from orchestrator.cli.show_status import held_section, problems_section
from orchestrator.cli.terminal import Terminal

STYLES: Final = {"added": "green", "changed": "yellow", "removed": "red"}


def reload_lines(reloaded: wire.Reloaded, terminal: Terminal, now: datetime, *, waited: bool) -> list[str]:
    """Return the report, painted. `waited` says whether settling was waited for."""
    lines = [_changed(changed, terminal) for changed in reloaded["changed"]] or [
        "no change since the files were read last"
    ]
    lines += problems_section(reloaded["problems"], terminal)
    lines += held_section(reloaded["held"], terminal, now)
    if reloaded["problems"] or reloaded["held"]:
        lines.append("")
    took = f" after {words.span(reloaded['waited_ms'] / 1000)}" if waited else ""
    if reloaded["settled"]:
        return [*lines, terminal.paint(f"settled{took}", "green")]
    unsettled = [model for model in reloaded["models"] if not as_asked(model)]
    lines.append(
        terminal.paint(f"{words.count(len(unsettled), 'model')} not settled{took or ' yet'}", "yellow")
    )
    for model in unsettled:
        said = note(model, reloaded["problems"], now)
        lines.append(f"  {model['name']}: {said.text}")
    return lines


def _changed(changed: wire.Changed, terminal: Terminal) -> str:
    word = f"{changed['change']:<8}"
    return f"{terminal.paint(word, STYLES.get(changed['change'], ''))} {changed['kind']} {changed['name']}"
