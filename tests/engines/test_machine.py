"""What doctor says of the machine."""

from pathlib import Path

import pytest

from orchestrator.engines.accelerators import Gpu, NoAccelerators
from orchestrator.engines.machine import machine_findings
from tests.engines.real_time import REAL_TIME
from tests.engines.test_cgroups import GIB, new, version_2, write

pytestmark = REAL_TIME


async def test_memory_and_disks_are_told(tmp_path: Path) -> None:
    found = await machine_findings({"cache": tmp_path / "not" / "yet"}, NoAccelerators(), proc=tmp_path)
    told = {finding.what: finding for finding in found}
    assert list(told) == ["machine", "memory", "swap", "GPU", "disk of the cache"]
    assert " GiB available" in told["memory"].found
    assert told["disk of the cache"].found.startswith(f"{tmp_path}/not/yet: ")
    assert all(finding.ok or finding.fix for finding in found)


@pytest.mark.parametrize(("limit_gib", "ok"), [(1, False), (8, True)])
async def test_a_limit_around_us_is_told(tmp_path: Path, limit_gib: int, *, ok: bool) -> None:
    write(tmp_path / "cg/a", new(str(limit_gib * GIB), GIB // 2))
    found = await machine_findings({}, NoAccelerators(), proc=version_2(tmp_path, "/a"))
    limit = next(finding for finding in found if finding.what.startswith("memory limit"))
    assert limit.found == f"{limit_gib}.0 GiB, {limit_gib - 0.5} GiB available"
    assert limit.ok == ok
    assert ok or "MemoryMax=" in limit.fix


class OneGpu:
    def look(self) -> list[Gpu]:
        return [Gpu(name="NVIDIA X", total_bytes=24 * GIB, used_bytes=2 * GIB, by_process={})]

    def driver(self) -> str:
        return "580.1"


async def test_gpus_and_their_driver_are_told(tmp_path: Path) -> None:
    told = {finding.what: finding.found for finding in await machine_findings({}, OneGpu(), proc=tmp_path)}
    assert told["NVIDIA driver"] == "580.1"
    assert told["cuda:0"] == "NVIDIA X, 24.0 GiB, 22.0 GiB free"
