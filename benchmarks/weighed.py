"""An estimate of memory beside what was taken, for every engine alike."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.worker import complete
from orchestrator.engines.memory.accelerators import NoAccelerators
from orchestrator.engines.memory.weight import Weight, weigh

MB = 1e6
JUDGED_FROM = 100 * MB
MOST_OVER = 0.10
HEAD = f"{'MB':>29} {'':12} estim.   ready  filled    peak    over  est.ms load.ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One replica. `peak_bytes` is the most that it ever had, pages that others have as well in full."""

    model: str
    context: int
    parallel: int
    estimated: int
    estimate_s: float
    load_s: float
    ready: Weight
    filled: Weight
    peak_bytes: int

    @property
    def over(self) -> float:
        return self.estimated / self.peak_bytes - 1

    @property
    def fine(self) -> bool:
        return self.over >= 0 and (self.over <= MOST_OVER or self.peak_bytes < JUDGED_FROM)

    def __str__(self) -> str:
        sizes = (self.estimated, self.ready.ram_bytes, self.filled.ram_bytes, self.peak_bytes)
        figures = " ".join(f"{size / MB:7.1f}" for size in sizes)
        times = f"{self.estimate_s * 1e3:7.0f} {self.load_s * 1e3:7.0f}"
        what = f"{self.model:>29} {self.context:>5} x {self.parallel:<4}"
        return f"{what} {figures} {self.over:+7.1%} {times}{'' if self.fine else '  WRONG'}"


def weight(pid: int) -> Weight:
    """Return what a process takes now."""
    return weigh([pid], NoAccelerators())[pid]


def peak_of(pid: int, seen: Sequence[Weight]) -> int:
    """Return the most that a process ever had in memory; of what was seen, where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return max(each.ram_bytes for each in seen)
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))


async def fill(socket: str, *, context: int, parallel: int) -> None:
    """Use every token of every place at once, and again while others' answers go on. A letter is a token."""
    asked = enumerate(4 + 6 * at for at in range(2 * parallel + 1))
    await asyncio.gather(
        *(complete(socket, chr(ord("a") + at) * (context - count), count) for at, count in asked)
    )
