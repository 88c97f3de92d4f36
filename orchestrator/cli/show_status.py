"""`status` as text: one screen, a line per model."""

from datetime import datetime
from typing import Final

from orchestrator.cli import wire, words
from orchestrator.cli.note import condition, holds, note, rests, wanted
from orchestrator.cli.problems import problem_lines
from orchestrator.cli.show_memory import budget_lines
from orchestrator.cli.table import Cell, Column, render
from orchestrator.cli.terminal import Terminal
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.fleet import Phase
from orchestrator.values.spec import ModelState

MODELS: Final = (
    Column("MODEL"),
    Column("STATE"),
    Column("READY"),
    Column("REVISION"),
    Column("SOURCE", shrink=True),
    Column("REPLICAS", right=True),
    Column("MEMORY", right=True),
    Column("LEASES", right=True),
)
GPU: Final = Column("GPU", right=True)
STATE_AT, GPU_AT = 1, 7
# The reason of Ready for a model whose first replica is on its way.
LOADING: Final = "Loading"
POLICIES: Final = (Column("POLICY"), Column("CALLED"), Column("USES", shrink=True), Column("FALLBACK"))


def status_lines(status: wire.Status, terminal: Terminal, now: datetime) -> list[str]:
    """Return the whole screen, painted."""
    lines = [*_header(status, terminal, now), ""]
    if status["models"]:
        lines += _models(status, terminal, now)
    else:
        lines.append(
            f"No models. Put a file into {status['config_folder']}/models.d, or: orchestrator init DIR"
        )
    lines += problems_section(status["problems"], terminal)
    lines += held_section(status["held"], terminal, now)
    if status["policies"]:
        lines += ["", *render(terminal, POLICIES, [_policy(policy) for policy in status["policies"]])]
    return lines


def _models(status: wire.Status, terminal: Terminal, now: datetime) -> list[str]:
    rows = [_row(model) for model in status["models"]]
    columns: tuple[Column, ...] = MODELS
    gpu = [
        sum(sum(replica["gpu_bytes"].values()) for replica in model["replicas"]) for model in status["models"]
    ]
    if any(gpu):
        columns = (*MODELS[:GPU_AT], GPU, *MODELS[GPU_AT:])
        for row, size in zip(rows, gpu, strict=True):
            row.insert(GPU_AT, Cell(words.size(size)))
    if terminal.width is not None and all(model["state"] == ModelState.ACTIVE for model in status["models"]):
        columns = (*columns[:STATE_AT], *columns[STATE_AT + 1 :])  # it would say the same of each
        for row in rows:
            del row[STATE_AT]
    notes = [note(model, status["problems"], now) for model in status["models"]]
    return render(terminal, columns, rows, [Cell(said.text, said.style) for said in notes])


def problems_section(problems: list[wire.Problem], terminal: Terminal) -> list[str]:
    """Return every problem as a compiler would print it, under a heading; nothing for none."""
    if not problems:
        return []
    files = len({problem["path"] for problem in problems})
    heading = f"{words.count(len(problems), 'problem')} in {words.count(files, 'file')}"
    rest = "what was accepted last stays in force"
    return ["", terminal.paint(f"{heading}; {rest}", "bold red"), *problem_lines(problems, terminal)]


def held_section(held: list[wire.Held], terminal: Terminal, now: datetime) -> list[str]:
    """Return what disappeared and is kept all the same, with the way out; nothing for none."""
    if not held:
        return []
    lines = ["", terminal.paint(f"{words.count(len(held), 'disappearance')} not obeyed yet", "bold yellow")]
    lines += [f"{gone['path']}, {words.ago(gone['since'], now)} ago: {gone['why']}" for gone in held]
    return [
        *lines,
        f"  {terminal.paint('fix:', 'green')} put the files back, or: orchestrator reload --confirm-removal",
    ]


def _header(status: wire.Status, terminal: Terminal, now: datetime) -> list[str]:
    dot = terminal.text(" · ")
    ready = (
        terminal.paint("ready", "green bold") if status["ready"] else terminal.paint("not ready", "red bold")
    )
    first = [
        f"orchestrator {status['version']} at {terminal.paint(status['address'], 'bold')}",
        ready,
        f"up {words.ago(status['started_at'], now)}",
    ]
    history, *rest = _history(status["history"])
    style = "" if status["history"]["ok"] else "red"
    second = [f"files in {status['config_folder']}", terminal.paint(history, style)]
    told = [
        dot.join(first),
        *budget_lines(status["memory"], terminal),
        dot.join(second),
        *(terminal.paint(line, style) for line in rest),
    ]
    if not status["state"]["ok"]:
        error = status["state"]["error"] or "no reason given"
        told += [
            terminal.paint(line, "red") for line in f"nothing is loaded or unloaded: {error}".splitlines()
        ]
    return told


def _history(history: wire.History) -> list[str]:
    dropped = f", {words.count(history['dropped'], 'fact')} dropped" if history["dropped"] else ""
    what, *fix = (history["error"] or "no reason given").splitlines()
    if history["ok"]:
        # Rows are being stored; an error tells what was wrong, such as a damaged file that was moved aside.
        return [f"history ok{dropped}: {what}", *fix] if history["error"] else [f"history ok{dropped}"]
    return [f"history not written{dropped}: {what}", *fix]


def _row(model: wire.Model) -> list[Cell]:
    ready = [replica for replica in model["replicas"] if replica["phase"] == Phase.READY]
    return [
        Cell(model["name"], "bold"),
        Cell(model["state"], "" if model["state"] == ModelState.ACTIVE else "dim"),
        _ready(model),
        Cell(_revision(model)),
        Cell(model["source"] or "-"),
        Cell(f"{len(ready)}/{len(model['replicas'])}"),
        Cell(words.size(sum(replica["memory_bytes"] for replica in model["replicas"]))),
        Cell(str(sum(replica["leases"] for replica in model["replicas"]))),
    ]


def _ready(model: wire.Model) -> Cell:
    if not wanted(model):
        return Cell("-", "dim")
    ready = condition(model, ConditionType.READY)
    if ready is None or ready["status"] == Truth.UNKNOWN:
        return Cell("?", "yellow")
    if ready["status"] == Truth.TRUE:
        return Cell("yes", "green")
    if model["fetch"]:
        return Cell("fetching", "cyan")
    if ready["reason"] == LOADING:
        return Cell("loading", "cyan")
    return Cell("on demand", "dim") if rests(model) else Cell("no", "red")


def _revision(model: wire.Model) -> str:
    """Return what serves now, and with an arrow what is about to."""
    serving = model["serving"]["revision"] if model["serving"] else None
    coming = model["attempted"] if holds(model, ConditionType.PROGRESSING) else None
    if coming is None or coming == serving:
        return words.revision(serving)
    return f"{words.revision(serving) if serving else ''}→{words.revision(coming)}"


def _policy(policy: wire.Policy) -> list[Cell]:
    called = f"policy/{policy['name']}"
    return [
        Cell(policy["name"], "bold"),
        Cell(f"auto, {called}" if policy["default"] else called),
        Cell(", ".join(policy["otherwise"])),
        Cell(", ".join(policy["fallback"]) or "-"),
    ]
