"""NVIDIA's GPUs, as their driver tells of them; none where there is no driver.

Everything here may take milliseconds: call it from a thread.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU now. `by_process` is what each process takes of it, as far as the driver tells."""

    name: str
    total_bytes: int
    used_bytes: int
    by_process: Mapping[int, int]


class Accelerators(Protocol):
    """The GPUs that have memory of their own, in the driver's order: pool `cuda:0` is the first."""

    def look(self) -> Sequence[Gpu]:
        """Return them as they are now; none where they cannot be asked."""

    def driver(self) -> str:
        """Return the driver's version, "" where there is none."""


class NvidiaDriver:
    """Asks NVML, through nvidia-ml-py; the driver may come and go while we run.

    Args:
        load: returns the module; another one only in tests.
    """

    def __init__(self, load: Callable[[], Any] = lambda: importlib.import_module("pynvml")) -> None:
        self._load = load
        self._nvml: Any = None
        self._missing = False

    def look(self) -> Sequence[Gpu]:
        """Return the GPUs as they are now."""
        nvml = self._ready()
        if nvml is None:
            return []
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(at) for at in range(nvml.nvmlDeviceGetCount())]
            return [_gpu(nvml, handle) for handle in handles]
        except nvml.NVMLError:
            self._nvml = None  # the driver was unloaded, or is being updated: begin anew next time
            return []

    def driver(self) -> str:
        """Return the driver's version."""
        nvml = self._ready()
        if nvml is None:
            return ""
        try:
            return _text(nvml.nvmlSystemGetDriverVersion())
        except nvml.NVMLError:
            return ""

    def _ready(self) -> Any:  # noqa: ANN401 (an untyped module)
        if self._nvml is not None or self._missing:
            return self._nvml
        try:
            nvml = self._load()
        except ImportError:
            self._missing = True
            return None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return (
                None  # asked again every time: an ordinary machine answers at once that there is no library
            )
        self._nvml = nvml
        return nvml


class NoAccelerators:
    """A machine without any."""

    def look(self) -> Sequence[Gpu]:
        """Return none."""
        return []

    def driver(self) -> str:
        """Return that there is none."""
        return ""


def taken_by(gpus: Sequence[Gpu], pid: int) -> tuple[tuple[str, int], ...]:
    """Return what a process takes of GPUs' own memory, by pool."""
    pairs = ((f"cuda:{at}", gpu.by_process.get(pid, 0)) for at, gpu in enumerate(gpus))
    return tuple((pool, size) for pool, size in pairs if size)


def _gpu(nvml: Any, handle: Any) -> Gpu:  # noqa: ANN401 (an untyped module)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return Gpu(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        # None where the driver does not tell, as in containers and on Windows.
        by_process={int(process.pid): int(process.usedGpuMemory or 0) for process in processes},
    )


def _text(value: str | bytes) -> str:
    """Older versions of the binding return bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
