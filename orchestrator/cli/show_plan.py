"""`plan` as text: what changes in each model and why, then the steps."""

from itertools import groupby
from typing import Final

from orchestrator.cli import wire, words
from orchestrator.cli.problems import problem_lines
from orchestrator.cli.show_memory import budget_lines, course, pool_name, pools_of
from orchestrator.cli.table import Cell, Column, paragraph, render
from orchestrator.cli.terminal import Terminal

# The classes of a change: its mark (after Terraform's), and what it costs.
MARKS: Final = {"live": "~", "reload": "~", "replace": "-/+", "create": "+", "remove": "-"}
STYLES: Final = {"live": "green", "reload": "yellow", "replace": "yellow", "create": "green", "remove": "red"}
MEANINGS: Final = {
    "live": "takes effect at once; nothing reloads",
    "reload": "the same revision is loaded anew beside the old, then takes over",
    "replace": "a new revision is loaded beside the old, then takes over",
    "create": "a new model or policy",
    "remove": "its requests finish, then it is unloaded",
}
ACTIONS: Final = {"load": "green", "switch": "bold", "unload": "red", "remove": "red", "fetch": "cyan"}
RETRY: Final = "to try again: edit its file, or run: orchestrator reload"
MARK_WIDTH: Final = 11
NOTHING: Final = "No changes. There is nothing to do."
NO_CHANGES: Final = "No changes."
NOTHING_ELSE: Final = "No changes in the other files."


def plan_lines(plan: wire.Plan, terminal: Terminal) -> list[str]:
    """Return the whole plan, painted."""
    lines: list[str] = []
    if plan["problems"]:
        heading = f"{words.count(len(plan['problems']), 'problem')}; what was accepted last counts instead"
        lines += [terminal.paint(heading, "bold red"), *problem_lines(plan["problems"], terminal), ""]
    failed = [*_failed(plan["failed"], terminal), *_unfit(plan["unfit"], terminal)]
    if is_empty(plan):
        nothing = NO_CHANGES if failed else NOTHING
        return [*lines, NOTHING_ELSE if plan["problems"] else nothing, *failed]
    changes = sorted(plan["changes"], key=lambda change: (change["kind"], change["name"]))
    width = max((len(_where(change)) for change in changes), default=0)
    for (kind, name), group in groupby(changes, key=lambda change: (change["kind"], change["name"])):
        lines.append(f"{kind} {terminal.paint(name, 'bold')}")
        lines += [_change(change, width, terminal) for change in group]
        lines.append("")
    if plan["steps"]:
        if plan["memory"]:
            lines += [*budget_lines(plan["memory"], terminal), ""]
        lines += [*_steps(plan["steps"], terminal), *_outages(plan["steps"], terminal), ""]
    return [*lines, _summary(plan), *failed]


def is_empty(plan: wire.Plan) -> bool:
    """Return whether nothing would be done."""
    return not plan["changes"] and not plan["steps"]


def _change(change: wire.Change, width: int, terminal: Terminal) -> str:
    kind = change["class"]
    mark = f"{MARKS.get(kind, '~')} {kind}"
    mark = terminal.paint(f"{mark:<{MARK_WIDTH}}", STYLES.get(kind, ""))
    what = ""
    if change["field"]:
        what = f"{change['field']}: {words.shown(change['old'])} → {words.shown(change['new'])}"
    return f"  {mark}  {_where(change):<{width}}  {what}".rstrip()


def _where(change: wire.Change) -> str:
    return f"{change['path']}:{change['line']}" if change["line"] else change["path"]


def _steps(steps: list[wire.Step], terminal: Terminal) -> list[str]:
    """Return a row per step: what, the memory before, at the peak and after it, how long, and why."""
    pools = pools_of(steps)
    known = any(step["takes_s"] is not None for step in steps)
    columns = [
        Column("STEP", right=True),
        Column("ACTION"),
        Column("MODEL", shrink=True),
        Column("REVISION"),
        *(Column(pool_name(pool).upper(), right=True) for pool in pools),
        *([Column("TAKES", right=True)] if known else []),
    ]
    rows = [
        [
            Cell(str(number)),
            Cell(step["action"], ACTIONS.get(step["action"], "")),
            Cell(step["model"]),
            Cell(words.revision(step["revision"])),
            *(Cell(course(step["memory"], pool)) for pool in pools),
            *(
                [Cell("-" if step["takes_s"] is None else f"~{words.about(step['takes_s'])}")]
                if known
                else []
            ),
        ]
        for number, step in enumerate(steps, start=1)
    ]
    whys = [Cell(step["why"], "dim") for step in steps]
    lines = render(terminal, columns, rows, whys, note_title="WHY")
    if pools:
        meaning = "memory: before → peak → after the step, as the budget counts it"
        lines.append(terminal.paint(terminal.text(meaning), "dim"))
    return lines


def _outages(steps: list[wire.Step], terminal: Terminal) -> list[str]:
    """Return for how long which model answers nobody, because its two revisions do not fit together."""
    lines = []
    for step in steps:
        if step["interrupts"]:
            known = step["unavailable_s"]
            span = f"about {words.about(known)}" if known is not None else "as long as it loads"
            said = f"{step['model']} is unavailable for {span}, and its requests wait: both do not fit"
            lines += paragraph(terminal, said, first=terminal.paint("! ", "yellow"), indent=2, style="yellow")
    return lines


def _unfit(unfit: list[wire.Unfit], terminal: Terminal) -> list[str]:
    """Return the models that can never be loaded as the files stand."""
    lines = []
    for item in unfit:
        lines += paragraph(terminal, f"{item['model']} can never be loaded: {item['why']}", style="red")
        lines += paragraph(terminal, f"fix: {item['fix']}", first="  ", indent=2)
    return lines


def _failed(failed: list[wire.Failed], terminal: Terminal) -> list[str]:
    """Return what is not as asked although nothing is planned for it, and what could be done."""
    lines = []
    for item in failed:
        what = f"{item['model']}: revision {words.revision(item['revision'])} failed: {item['message']}"
        again = "it is tried again by itself" if item["retry_at"] else RETRY
        lines += paragraph(terminal, what, style="yellow")
        fix = "; ".join(part for part in (item["fix"], again) if part)
        lines += paragraph(terminal, f"fix: {fix}", first="  ", indent=2)
    return lines


def _summary(plan: wire.Plan) -> str:
    """Return how many changes of each class there are, and what each class means."""
    counts = {kind: sum(change["class"] == kind for change in plan["changes"]) for kind in MARKS}
    said = [f"{number} {kind} ({MEANINGS[kind]})" for kind, number in counts.items() if number]
    if not said:
        return "No file changed; the steps bring the fleet back to what the files say."
    return "\n".join([f"{words.count(len(plan['changes']), 'change')}:", *(f"  {line}" for line in said)])
