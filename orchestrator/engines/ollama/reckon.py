"""What models take of this machine's memory, by pool; servers on other machines take none of it."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from orchestrator.engines.memory.accelerators import Accelerators, Gpu
from orchestrator.engines.memory.weight import Weight
from orchestrator.engines.ollama.local import kept_of, runner_of, slots_of
from orchestrator.engines.ollama.place import port_of
from orchestrator.engines.ollama.server import Server, Shown
from orchestrator.engines.ollama.site import Site
from orchestrator.engines.ollama.weights import DRIVER_BYTES, RUNNER_BYTES, Load, peak_bytes
from orchestrator.values.memory import RAM, Pools
from orchestrator.values.spec import ModelSpec

_HALF: Final = 2
_NOTHING: Final = Weight(ram_bytes=0, own_bytes=0)


class Reckoner:
    """Knows the GPUs of this machine."""

    def __init__(self, accelerators: Accelerators) -> None:
        self._accelerators = accelerators

    async def peak(self, server: Server, shown: Shown, size_bytes: int, spec: ModelSpec) -> Pools:
        """Return an upper bound of what a model takes on a server of this machine.

        How many requests the server decodes at once is its own setting. Where it cannot be read, the
        model's `parallel` is taken for it. What its runners keep of ended prompts counts where the server
        bounds that: see `kept_of`.
        """
        port = port_of(server.url)
        slots = await asyncio.to_thread(slots_of, port)
        kept = await asyncio.to_thread(kept_of, port) or 0
        load = Load(
            weights_bytes=size_bytes,
            context=spec.context,
            slots=slots or max(spec.parallel, 1),
            embeds="embedding" in shown.capabilities,
        )
        peak = peak_bytes(shown.info, load)
        gpus = [] if spec.accelerator == "cpu" else await asyncio.to_thread(self._accelerators.look)
        if not gpus:
            return {RAM: peak + RUNNER_BYTES + kept}
        arch = shown.info.get("general.architecture", "")
        rows = int(shown.info.get(f"{arch}.vocab_size") or 0)
        here = rows * int(shown.info.get(f"{arch}.embedding_length") or 0) * _HALF + RUNNER_BYTES + kept
        return spread(peak + DRIVER_BYTES, gpus, here + DRIVER_BYTES)

    async def weigh(self, site: Site) -> Weight:
        """Return what a replica takes of this machine at one server, whether it is ready or not.

        The process that runs it is asked, where it is found; else what the server itself says.
        """
        stocked, seen = site.stocked, site.resident
        if stocked is None or not site.here:
            return _NOTHING
        vram = seen.vram_bytes if seen and sys.platform != "darwin" else 0  # a Mac has RAM only
        told = (("cuda:0", vram),) if vram else ()
        runner = site.runner or await asyncio.to_thread(runner_of, stocked.blob, port_of(site.server.url))
        if runner is None:
            said = max(seen.size_bytes - vram, 0) if seen else 0
            return Weight(ram_bytes=said, own_bytes=said, gpu_bytes=told)
        gpus = await asyncio.to_thread(self._accelerators.look) if vram else ()
        found = await asyncio.to_thread(runner.weigh, gpus)
        return Weight(ram_bytes=found.ram_bytes, own_bytes=found.own_bytes, gpu_bytes=found.gpu_bytes or told)


def spread(peak: int, gpus: Sequence[Gpu], ram: int) -> Pools:
    """Return where a model of that size goes: onto the largest GPU, or over all, and the rest into RAM."""
    largest = max(range(len(gpus)), key=lambda at: gpus[at].total_bytes)
    if peak <= gpus[largest].total_bytes:
        return {f"cuda:{largest}": peak, RAM: ram}
    total = sum(gpu.total_bytes for gpu in gpus)
    shared = {
        f"cuda:{at}": min(gpu.total_bytes, peak * gpu.total_bytes // total) for at, gpu in enumerate(gpus)
    }
    return shared | {RAM: ram + max(peak - total, 0)}
