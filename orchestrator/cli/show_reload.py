"""`reload` as text: what changed, what is wrong, what is settled."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from orchestrator.cli import wire, words
from orchestrator.cli.note import as_asked, note
from orchestrator.cli.show_status import held_section, problems_section
from orchestrator.cli.terminal import Terminal

STYLES: Final = {"added": "green", "changed": "yellow", "removed": "red"}


def reload_lines(
    reloaded: wire.Reloaded, terminal: Terminal, now: datetime, *, waited: bool, let_go: Sequence[str] = ()
) -> list[str]:
    """Return the report, painted.

    Args:
        reloaded: the daemon's answer.
        terminal: where it will be shown.
        now: the present instant.
        waited: whether settling was waited for.
        let_go: what was confirmed to be gone just before.
    """
    lines = [f"{terminal.paint('let go  ', STYLES['removed'])} {path}" for path in let_go]
    lines += [_changed(changed, terminal) for changed in reloaded["changed"]]
    if not lines:
        lines.append("no change since the files were read last")
    lines += problems_section(reloaded["problems"], terminal)
    lines += held_section(reloaded["held"], terminal, now)
    if reloaded["problems"] or reloaded["held"]:
        lines.append("")
    took = f" after {words.span(reloaded['waited_ms'] / 1000)}" if waited else ""
    lacking = [model for model in reloaded["models"] if not as_asked(model)]
    if not lacking:
        return [*lines, terminal.paint(f"settled{took}", "green")]
    models = words.count(len(lacking), "model is", "models are")
    state = (
        f"settled{took}, but {models} not as asked"
        if reloaded["settled"]
        else f"{models} not settled{took or ' yet'}"
    )
    lines.append(terminal.paint(state, "yellow"))
    lines += [f"  {model['name']}: {note(model, reloaded['problems'], now).text}" for model in lacking]
    return lines


def _changed(changed: wire.Changed, terminal: Terminal) -> str:
    word = f"{changed['change']:<8}"
    return f"{terminal.paint(word, STYLES.get(changed['change'], ''))} {changed['kind']} {changed['name']}"
