"""Memory and downloads as text: the budget, what a step of a plan does to it, how far a fetch is."""

from collections.abc import Iterable
from typing import Final

from orchestrator.cli import wire, words
from orchestrator.cli.table import cells, paragraph
from orchestrator.cli.terminal import Terminal

RAM: Final = "ram"
FULL: Final = 0.9
LABEL: Final = 7


def budget_lines(memory: dict[str, wire.Pool], terminal: Terminal) -> list[str]:
    """Return the budget of every pool, the RAM first: what models take of it, and where the rest is."""
    lines = []
    names = sorted(memory, key=lambda name: (name != RAM, name))
    width = max((len(pool_name(name)) for name in names), default=0)
    for name in names:
        pool = memory[name]
        room, charged = max(0, pool["room_bytes"]), pool["charged_bytes"]
        style = "red bold" if charged > room else "yellow bold" if charged > FULL * room else "bold"
        said = f"{words.amount(charged)} of {words.size(room)} for models"
        if not room:
            said = f"{words.amount(charged)} for models, and no room for more"
        kept = [f"{words.amount(pool['outside_bytes'])} used by other programs"]
        if pool["reserve_bytes"]:
            kept.append(f"{words.size(pool['reserve_bytes'])} kept free")
        if pool["limit_bytes"] is not None:
            kept.append(f"limited to {words.size(pool['limit_bytes'])}")
        label = f"{pool_name(name):<{width}}  "
        dot = terminal.text(" · ")
        rest = f"{words.size(pool['total_bytes'])} in all: {', '.join(kept)}"
        first = f"{label}{terminal.paint(said, style)}"
        at = len(label) + cells(said) + cells(dot)
        if terminal.width is not None and at + cells(rest) > terminal.width:
            lines += [first, *paragraph(terminal, rest, indent=len(label))]
        else:
            lines.append(f"{first}{dot}{rest}")
    return lines


def pool_name(pool: str) -> str:
    """Return what people call a pool."""
    return "memory" if pool == RAM else pool


def pools_of(steps: Iterable[wire.Step]) -> list[str]:
    """Return the pools that a plan takes anything of, the RAM first."""
    found = {
        pool
        for step in steps
        for when in (step["memory"]["before"], step["memory"]["peak"], step["memory"]["after"])
        for pool, size in when.items()
        if size
    }
    return sorted(found, key=lambda name: (name != RAM, name))


def course(step: wire.StepMemory, pool: str) -> str:
    """Return what is charged before, at the peak of and after a step: `2.0 → 6.0 → 4.0 GiB`."""
    sizes = [step[when].get(pool, 0) for when in ("before", "peak", "after")]
    return words.course(sizes) if any(sizes) else "-"


def taken(pools: dict[str, int]) -> str:
    """Return what is taken of every pool: `1.2 GiB of memory and 7.5 GiB of cuda:0`; "" for nothing."""
    names = sorted((name for name, size in pools.items() if size), key=lambda name: (name != RAM, name))
    return " and ".join(f"{words.size(pools[name])} of {pool_name(name)}" for name in names)


def fetching(fetch: wire.Fetch) -> str:
    """Return how far a fetch is: `downloading 42 % of 4.0 GiB, 12 MiB/s, 3 min left`."""
    if not fetch["total_bytes"]:
        return fetch["doing"]
    said = f"{fetch['doing']} {percent(fetch)} of {words.size(fetch['total_bytes'])}"
    if fetch["bytes_per_s"]:
        said += f", {words.size(fetch['bytes_per_s'])}/s"
    if fetch["left_s"] is not None:
        said += f", {words.span(fetch['left_s'])} left"
    return said


def percent(fetch: wire.Fetch) -> str:
    """Return how much is here, rounded down: what is not all here is never 100 %."""
    share = 100 * fetch["done_bytes"] // max(fetch["total_bytes"], 1)
    return f"{min(share, 100)} %"
