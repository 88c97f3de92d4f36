"""What the workers of a roster take, read beside the event loop."""

import asyncio
from collections.abc import Mapping

from orchestrator.engines.children.worker import Worker
from orchestrator.engines.memory.accelerators import Accelerators
from orchestrator.engines.memory.weight import own, weigh
from orchestrator.engines.roster import Roster
from orchestrator.values.fleet import Running
from orchestrator.values.memory import Pools, added


async def observe(roster: Roster[Worker], accelerators: Accelerators) -> Mapping[str, Running]:
    """Return the workers that are ready and alive when this returns, with their memory of now."""
    pids = [worker.running.pid for worker in roster if worker.running is not None]
    weights = await asyncio.to_thread(weigh, pids, accelerators)
    # Those that became ready meanwhile are weighed here: who was told of them must not miss them.
    late = {worker.pid for worker in roster} - set(pids)
    observed = (
        worker.observed(weights.get(worker.pid))
        for worker in roster
        if worker.pid in weights or worker.pid in late
    )
    return {running.replica: running for running in observed if running is not None}


async def held(roster: Roster[Worker], accelerators: Accelerators) -> Pools:
    """Return what the workers have of their own, those that are starting or stopping included."""
    pids = [worker.pid for worker in roster if worker.pid]
    taken = await asyncio.to_thread(own, pids, accelerators)
    living = {worker.pid for worker in roster}
    return added(pools for pid, pools in taken.items() if pid in living)
