"""Memory as text: the budget, and what a step of a plan does to it."""

from typing import Final

from orchestrator.cli import wire, words
from orchestrator.cli.terminal import Terminal

RAM: Final = "ram"
FULL: Final = 0.9


def budget_lines(memory: dict[str, wire.Pool], terminal: Terminal) -> list[str]:
    """Return one line per pool: what replicas take of what they may, and where the rest is."""
    lines = []
    for name, pool in memory.items():
        room, charged = pool["room_bytes"], pool["charged_bytes"]
        style = "red" if charged > room else "yellow" if charged > FULL * room else ""
        said = f"{words.size(charged)} of {words.size(room)} for models"
        kept = [f"{words.size(pool['outside_bytes'])} used by other programs"]
        if pool["reserve_bytes"]:
            kept.append(f"{words.size(pool['reserve_bytes'])} kept free")
        if pool["limit_bytes"] is not None:
            kept.append(f"limited to {words.size(pool['limit_bytes'])}")
        label = "memory" if name == RAM else name
        of = f"{words.size(pool['total_bytes'])} in all: {', '.join(kept)}"
        lines.append(f"{label} {terminal.paint(said, style)}{terminal.text(' · ')}{of}")
    return lines


def course(step: wire.StepMemory, terminal: Terminal) -> str:
    """Return what is charged before, at the peak of and after a step, in every pool that it moves."""
    pools = [
        name
        for name in {**step["before"], **step["after"]}
        if step["before"].get(name, 0) != step["after"].get(name, 0)
    ]
    arrow = terminal.text(" → ")
    return ", ".join(
        ("" if name == RAM else f"{name} ")
        + arrow.join(words.size(step[when].get(name, 0)) for when in ("before", "peak", "after"))
        for name in pools
    )


def fetching(fetch: wire.Fetch) -> str:
    """Return how far a fetch is: `downloading 1.2 of 4.0 GiB, 12 MiB/s, 3 min left`."""
    if not fetch["total_bytes"]:
        return fetch["doing"]
    share = fetch["done_bytes"] / fetch["total_bytes"]
    said = f"{fetch['doing']} {share:.0%} of {words.size(fetch['total_bytes'])}"
    if fetch["bytes_per_s"]:
        said += f", {words.size(fetch['bytes_per_s'])}/s"
    if fetch["left_s"] is not None:
        said += f", {words.span(fetch['left_s'])} left"
    return said
