"""The control loop's own cost: a pass that changes nothing, an edit, a start.

    python -m benchmarks.control [--check]

`--check` exits 1 where a figure is beyond its target.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from orchestrator.config.scan import Scanner
from orchestrator.decide.fold import fold
from orchestrator.decide.plan import plan
from orchestrator.decide.serving import routing_table
from orchestrator.engines import kinds
from orchestrator.values.action import Action, Fetch, Load
from orchestrator.values.demand import NO_DEMAND
from orchestrator.values.event import ActionIssued, CatalogRead, Event, Fetched, ReplicaLoaded
from orchestrator.values.fleet import Running
from orchestrator.values.memory import RAM, Footprint, Memory, Pool
from orchestrator.values.settings import Limits
from orchestrator.values.state import State
from tests.e2e.house import FAST, House, house

FILES = 1000
EDITS = 20
STARTS = 5

# A name, what was measured, the target where there is one, the unit.
Row = tuple[str, float, float | None, str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure is beyond its target")
    arguments = parser.parse_args()
    rows = [*no_op_pass(), *edits(), *starts()]
    print(f"{'':54} {'measured':>10} {'target':>10}")
    for name, measured, target, unit in rows:
        aim = f"{target:>7.0f} {unit}" if target is not None else "      -"
        print(f"{name:54} {measured:>7.1f} {unit:2} {aim}")
    beyond = [name for name, measured, target, _ in rows if target is not None and measured > target]
    if beyond:
        print("beyond its target:", ", ".join(beyond))
    sys.exit(1 if beyond and arguments.check else 0)


def no_op_pass() -> list[Row]:
    """Scan 1,000 unchanged files, fold what was read, plan, and build the routing table."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models.d"
        models.mkdir()
        for number in range(FILES):
            (models / f"m{number:04}.yaml").write_text(FAST)
        scanner = Scanner(Path(folder), engines=kinds.traits())
        now = datetime.now(UTC) + timedelta(seconds=10)  # noqa: TID251 (a benchmark has no clock of ours)
        first = milliseconds(lambda: scanner.scan(now))
        state = loaded(scanner, now)

        def one_pass() -> None:
            nonlocal state
            state = fold(state, CatalogRead(at=now, reading=scanner.scan(now))).state
            if plan(state, NO_DEMAND, Limits(), now):
                raise AssertionError("a pass over unchanged files must plan nothing")
            routing_table(state, epoch=1)

        passes = [milliseconds(one_pass) for _ in range(20)]
    return [
        (f"first scan of {FILES} files", first, 2000, "ms"),
        (f"no-op pass over {FILES} files, median", statistics.median(passes), 50, "ms"),
        (f"no-op pass over {FILES} files, most of 20", max(passes), 50, "ms"),
    ]


def loaded(scanner: Scanner, now: datetime) -> State:
    """Return a state in which every model of the folder is ready, and takes some memory."""
    memory = Memory(pools={RAM: Pool(total=1 << 50)}, at=now)
    state = replace(fold(State(), CatalogRead(at=now, reading=scanner.scan(now))).state, memory=memory)
    limits = Limits(loads_at_once=FILES)
    for _ in range(2):  # fetched, then loaded
        for action in plan(state, NO_DEMAND, limits, now):
            state = fold(state, ActionIssued(at=now, action=action)).state
            state = fold(state, outcome(action, now)).state
    return state


def outcome(action: Action, now: datetime) -> Event:
    if isinstance(action, Fetch):
        known = Footprint(estimated={RAM: 1 << 20})
        return Fetched(
            at=now, model=action.model, launch=action.spec.launch, resolved="", size_bytes=1, footprint=known
        )
    if not isinstance(action, Load):
        raise TypeError(action)
    running = Running(replica=action.replica, socket="/run/x.sock", pid=1, pid_started=1.0)
    return ReplicaLoaded(at=now, replica=action.replica, running=running)


def edits() -> list[Row]:
    """From the rename that ends a save to the decision to load the new revision, in a running daemon."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        house(Path(folder), models={"fast": FAST}) as home,
    ):
        home.start()
        waits = [edit(home, number) for number in range(EDITS)]
        home.stop()
    return [
        (f"save → plan decided, median of {EDITS}", statistics.median(waits), 300, "ms"),
        (f"save → plan decided, most of {EDITS}", max(waits), 300, "ms"),
    ]


def edit(home: House, number: int) -> float:
    generation = home.model("fast")["generation"] + 1
    saved = time.time()
    home.write("models.d/fast.yaml", FAST.replace("tiny", ("small", "tiny")[number % 2]))
    home.until(lambda: decided(home, generation) is not None)
    at = decided(home, generation)
    home.until(lambda: [r["phase"] for r in home.model("fast")["replicas"]] == ["ready"])
    return ((at or 0) - saved) * 1000


def decided(home: House, generation: int) -> float | None:
    """Return when the load of this generation was decided, in seconds since the epoch."""
    for event in home.model("fast")["events"]:
        if event["reason"] == "Loading" and event["generation"] == generation:
            return datetime.fromisoformat(event["at"]).timestamp()
    return None


def starts() -> list[Row]:
    """A daemon without models: from the start of its process to its first answer, and its memory."""
    took, alone, together = [], [], []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory(dir="/tmp") as folder, house(Path(folder)) as home:
            for file in (home.config / "models.d").iterdir():
                file.unlink()
            (home.config / "policies/default.yaml").unlink()
            began = time.monotonic()
            home.start(wait=False)
            home.until(lambda: home.get("/ready")[0] == 200)
            took.append((time.monotonic() - began) * 1000)
            if home.process is None:
                raise AssertionError("the daemon was just started")
            # The history opens its database in the background; count it in.
            home.until(lambda: home.status()["history"]["written"] > 0)
            alone.append(psutil.Process(home.process.pid).memory_info().rss / 1e6)
            together.append(together_mb(home.process.pid))
            home.stop()
    return [
        (f"start → ready without models, most of {STARTS}", max(took), 2000, "ms"),
        (f"resident without models, most of {STARTS}", max(alone), 100, "MB"),
        (f"with the history's child (PSS), most of {STARTS}", max(together), None, "MB"),
    ]


def together_mb(pid: int) -> float:
    """Return the memory of the daemon and its children, in MB; on Linux shared pages count once (PSS)."""
    daemon = psutil.Process(pid)
    family = [process.memory_full_info() for process in (daemon, *daemon.children(recursive=True))]
    return sum(getattr(memory, "pss", memory.rss) for memory in family) / 1e6


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
