"""The meter on this machine, and with GPUs that are not there."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.engines.memory.accelerators import Gpu, NoAccelerators, NvidiaDriver, taken_by
from orchestrator.engines.memory.meter import Meter
from orchestrator.values.memory import RAM, Pool
from orchestrator.values.settings import Settings
from tests.engines.real_time import REAL_TIME, SOON_S

pytestmark = REAL_TIME

MIB = 1 << 20
HOG = "import sys; taken = bytearray(b'x') * (int(sys.argv[1]) << 20); print(flush=True); sys.stdin.read()"


@contextmanager
def hog(size_mib: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOG, str(size_mib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            yield process
        finally:
            process.kill()


async def outside(meter: Meter, held: int = 0) -> int:
    return (await meter.read({RAM: held})).pools[RAM].outside


async def becomes(meter: Meter, low: int, high: int) -> int:
    """Return what others take once it is between these; other programs come and go beside this one."""
    async with asyncio.timeout(SOON_S):
        while not low < (taken := await outside(meter)) < high:  # noqa: ASYNC110 (nobody tells of it)
            await asyncio.sleep(0.05)
    return taken


async def test_a_program_that_takes_memory_is_seen_to_come_and_to_go() -> None:
    meter = Meter(Settings(), NoAccelerators())
    before = await outside(meter)
    with hog(1000):
        during = await becomes(meter, before + 700 * MIB, before + 1300 * MIB)
        assert during - await outside(meter, held=1000 * MIB) > 700 * MIB
    await becomes(meter, 0, during - 700 * MIB)


async def test_the_settings_are_kept_to() -> None:
    settings = Settings(memory_limit_bytes=3 * MIB, memory_reserve_bytes=2 * MIB)
    memory = await Meter(settings, NoAccelerators()).read({})
    assert set(memory.pools) == {RAM}
    assert (memory.pools[RAM].limit, memory.pools[RAM].reserve) == (3 * MIB, 2 * MIB)
    assert memory.at is not None
    assert memory.at.tzinfo is not None


class TwoGpus:
    def look(self) -> list[Gpu]:
        return [
            Gpu(name="A", total_bytes=1000, used_bytes=700, by_process={11: 300, 12: 100}),
            Gpu(name="B", total_bytes=500, used_bytes=50, by_process={11: 20}),
        ]

    def driver(self) -> str:
        return "1.2"


async def test_each_gpu_is_a_pool() -> None:
    meter = Meter(Settings(gpu_reserve_bytes=100), TwoGpus())
    pools = (await meter.read({"cuda:0": 300, "cuda:1": 60})).pools
    assert pools["cuda:0"] == Pool(total=1000, reserve=100, outside=400)
    assert pools["cuda:1"] == Pool(total=500, reserve=100, outside=0)


def test_what_a_process_takes_of_gpus() -> None:
    gpus = TwoGpus().look()
    assert taken_by(gpus, 11) == (("cuda:0", 300), ("cuda:1", 20))
    assert taken_by(gpus, 13) == ()


class FakeNvml:
    """As nvidia-ml-py; its driver can be missing, and can go away. Never compared with a real one."""

    class NVMLError(Exception):
        pass

    class Memory:
        total, used = 80, 30

    class Process:
        def __init__(self, pid: int, size: int | None) -> None:
            self.pid = pid
            self.usedGpuMemory = size

    def __init__(self) -> None:
        self.works = True

    def _check(self) -> None:
        if not self.works:
            raise self.NVMLError

    def nvmlInit(self) -> None:  # noqa: N802 (the binding's names, here and below)
        self._check()

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._check()
        return 1

    def nvmlDeviceGetHandleByIndex(self, at: int) -> int:  # noqa: N802
        return at

    def nvmlDeviceGetMemoryInfo(self, _: int) -> Memory:  # noqa: N802
        return self.Memory()

    def nvmlDeviceGetComputeRunningProcesses(self, _: int) -> list[Process]:  # noqa: N802
        return [self.Process(11, 20), self.Process(12, None)]

    def nvmlDeviceGetName(self, _: int) -> bytes:  # noqa: N802
        return b"NVIDIA X"

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        self._check()
        return "580.1"


def test_the_driver_is_asked_and_may_come_and_go() -> None:
    nvml = FakeNvml()
    driver = NvidiaDriver(lambda: nvml)
    gpu = Gpu(name="NVIDIA X", total_bytes=80, used_bytes=30, by_process={11: 20, 12: 0})
    assert driver.look() == [gpu]
    nvml.works = False
    assert driver.look() == []
    assert driver.driver() == ""
    nvml.works = True
    assert driver.look() == [gpu]
    assert driver.driver() == "580.1"


def test_without_the_binding_there_are_no_gpus() -> None:
    def missing() -> object:
        raise ModuleNotFoundError

    assert NvidiaDriver(missing).look() == []


def test_this_machine_s_own_driver_can_be_asked() -> None:
    """Here it usually is not there: the real binding must say so in the way that we expect."""
    for gpu in NvidiaDriver().look():
        assert gpu.total_bytes >= gpu.used_bytes


@pytest.mark.parametrize("held", [-1, 1 << 60])
async def test_absurd_figures_are_bounded(held: int) -> None:
    pool = (await Meter(Settings(), NoAccelerators()).read({RAM: held})).pools[RAM]
    assert 0 <= pool.outside <= pool.total
