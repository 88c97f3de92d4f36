"""`describe` as text: everything about one model."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from orchestrator.cli import wire, words
from orchestrator.cli.note import ON_DEMAND, note
from orchestrator.cli.problems import problem_lines
from orchestrator.cli.show_memory import fetching, pool_name, taken
from orchestrator.cli.table import Cell, Column, paragraph, render
from orchestrator.cli.terminal import Terminal
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.fact import Severity
from orchestrator.values.fleet import Phase
from orchestrator.values.spec import LoadWhen

LABEL: Final = 11
CONDITIONS: Final = (
    Column("TYPE"),
    Column("STATUS"),
    Column("SINCE", right=True),
    Column("REASON", shrink=True),
)
REPLICAS: Final = (
    Column("REPLICA", shrink=True),
    Column("REVISION"),
    Column("PHASE"),
    Column("PID", right=True),
    Column("MEMORY", right=True),
    Column("LEASES", right=True),
    Column("SINCE", right=True),
)
EVENTS: Final = (Column("AGO", right=True), Column("REVISION"), Column("REASON", shrink=True))
# What is good news when it is true; for the other conditions it is good news when it is false.
GOOD: Final = {ConditionType.ACCEPTED, ConditionType.FETCHED, ConditionType.FITS, ConditionType.READY}
MILD: Final = {ConditionType.DEGRADED, ConditionType.DRIFTED}
# Reasons of conditions that are as the file asks although they say no.
RESTS: Final = {ON_DEMAND, "Fetching", "Loading"}
LOADED: Final[dict[str, str]] = {LoadWhen.ALWAYS: "always", LoadWhen.ON_DEMAND: "on demand"}
PHASES: Final[dict[str, str]] = {Phase.READY: "green"}


def describe_lines(model: wire.Described, terminal: Terminal, now: datetime) -> list[str]:
    """Return the whole page, painted."""
    lines = [terminal.paint(model["name"], "bold")]
    said = note(model, model["problems"], now)
    if said.text:
        lines += paragraph(terminal, said.text, indent=2, style=said.style)
    lines += _facts(model, terminal, now)
    lines += _section("SPEC", _spec(model["spec"]), terminal)
    lines += _section("CONDITIONS", _conditions(model["conditions"], terminal, now), terminal)
    lines += _section("REPLICAS", _replicas(model["replicas"], terminal, now), terminal)
    lines += _section("RECENT EVENTS", _events(model["events"], terminal, now), terminal)
    if model["problems"]:
        lines += _section("PROBLEMS", problem_lines(model["problems"], terminal), terminal, indent="")
    return lines


def _section(title: str, lines: list[str], terminal: Terminal, indent: str = "  ") -> list[str]:
    body = [f"{indent}{line}" for line in lines] or [f"{indent}{terminal.paint('none', 'dim')}"]
    return ["", terminal.paint(title, "bold cyan"), *body]


def _facts(model: wire.Described, terminal: Terminal, now: datetime) -> list[str]:
    pointers = ("desired", "attempted", "stable")
    known = {
        "desired": model["desired"],
        "attempted": model["attempted"],
        "stable": model["stable"],
        "serving": model["serving"]["revision"] if model["serving"] else None,
    }
    facts = [
        ("file", f"{model['path']}, generation {model['generation']}"),
        ("state", _state(model)),
        ("engine", model["engine"]),
        ("source", model["source"]),
        ("serving", f"{words.revision(known['serving'])}{_on(model)}"),
        ("revisions", " · ".join(f"{name} {words.revision(known[name])}" for name in pointers)),
        ("memory", _takes(model["takes"])),
        ("load", _load(model["takes"])),
    ]
    if model["fetch"]:
        facts.append(("fetch", fetching(model["fetch"])))
    if model["waiting"]:
        facts.append(("waiting", words.count(model["waiting"], "request")))
    for rejected in model["rejected"]:
        again = (
            f"trying again {words.until(rejected['retry_at'], now)}"
            if rejected["retry_at"]
            else "not tried again"
        )
        times = words.count(rejected["failures"], "failure")
        said = (
            f"{words.revision(rejected['revision'])} {rejected['reason']}: {rejected['message'].rstrip('.')}"
        )
        facts.append(("rejected", f"{said}; {times}, {again}"))
        if rejected["fix"]:
            facts.append(("  fix", rejected["fix"]))
    lines: list[str] = []
    for label, text in facts:
        first = "  " + terminal.paint(f"{label:<{LABEL}}", "dim")
        lines += paragraph(terminal, text, first=first, indent=2 + LABEL)
    return lines


def _state(model: wire.Model) -> str:
    return f"{model['state']}, loaded {LOADED[model['load']]}" if model["load"] in LOADED else model["state"]


def _takes(takes: wire.Takes | None) -> str:
    """Return what loading sets aside, and what that figure goes back to."""
    if takes is None:
        return "not known yet"
    if not (needed := taken(takes["need"])):
        return "nothing of this machine, as far as its engine can tell"
    measured, estimated = taken(takes["measured"]), taken(takes["estimated"])
    if takes["need"] == (takes["measured"] or takes["estimated"]):
        said = f"measured; {estimated} estimated" if measured else "estimated"
    else:
        parts = [measured and f"; {measured} measured", estimated and f"; {estimated} estimated"]
        said = "as its file says" + "".join(parts)
    return f"needs {needed} ({said})"


def _load(takes: wire.Takes | None) -> str:
    if takes is None or takes["load_s"] is None:
        return "not loaded since its file asks for this"
    version = f", with {takes['engine_version']}" if takes["engine_version"] else ""
    return f"took {words.about(takes['load_s'])} the last time{version}"


def _on(model: wire.Model) -> str:
    return f" on replica {model['serving']['replica']}" if model["serving"] else ""


def _spec(spec: Mapping[str, object]) -> list[str]:
    width = max((len(name) for name in spec), default=0)
    return [f"{name:<{width}}  {words.shown(value)}" for name, value in spec.items()]


def _conditions(conditions: list[wire.Condition], terminal: Terminal, now: datetime) -> list[str]:
    if not conditions:
        return []
    rows = [
        [
            Cell(condition["type"]),
            Cell(condition["status"], _tone(condition)),
            Cell(words.ago(condition["since"], now)),
            Cell(condition["reason"]),
        ]
        for condition in conditions
    ]
    notes = [Cell(condition["message"]) for condition in conditions]
    return render(terminal.narrowed(2), CONDITIONS, rows, notes, note_title="MESSAGE")


def _tone(condition: wire.Condition) -> str:
    if condition["status"] == Truth.UNKNOWN:
        return "yellow"
    good = (condition["status"] == Truth.TRUE) == (condition["type"] in GOOD)
    if good:
        return "green"
    if condition["type"] == ConditionType.PROGRESSING:
        return "cyan"
    mild = condition["type"] in MILD or condition["reason"] in RESTS
    return "yellow" if mild else "red"


def _replicas(replicas: list[wire.Replica], terminal: Terminal, now: datetime) -> list[str]:
    if not replicas:
        return []
    gpus = sorted({gpu for replica in replicas for gpu in replica["gpu_bytes"]})
    columns = (*REPLICAS[:5], *(Column(pool_name(gpu).upper(), right=True) for gpu in gpus), *REPLICAS[5:])
    rows = [
        [
            Cell(replica["id"]),
            Cell(words.revision(replica["revision"])),
            Cell(replica["phase"], PHASES.get(replica["phase"], "yellow")),
            Cell(str(replica["pid"] or "-")),
            Cell(words.size(replica["memory_bytes"])),
            *(Cell(words.size(replica["gpu_bytes"].get(gpu, 0))) for gpu in gpus),
            Cell(str(replica["leases"])),
            Cell(words.ago(replica["since"], now)),
        ]
        for replica in replicas
    ]
    return render(
        terminal.narrowed(2), columns, rows, [Cell(replica["why"]) for replica in replicas], note_title="WHY"
    )


def _events(events: list[wire.Event], terminal: Terminal, now: datetime) -> list[str]:
    if not events:
        return []
    events = sorted(events, key=lambda event: event["at"])  # the newest last, as in a log
    rows = [
        [
            Cell(words.ago(event["at"], now)),
            Cell(words.revision(event["revision"])),
            Cell(event["reason"], "yellow" if event["severity"] == Severity.WARNING else ""),
        ]
        for event in events
    ]
    return render(
        terminal.narrowed(2), EVENTS, rows, [Cell(event["message"]) for event in events], note_title="MESSAGE"
    )
