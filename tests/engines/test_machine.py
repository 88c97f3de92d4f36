"""What doctor says of the machine."""

from pathlib import Path

import pytest

from orchestrator.engines.base import Finding
from orchestrator.engines.memory.accelerators import Gpu, NoAccelerators
from orchestrator.engines.memory.machine import machine_findings
from orchestrator.values.settings import Settings
from tests.engines.test_cgroups import GIB, new, version_2, write


def found(tmp_path: Path, proc: Path | None = None, settings: Settings | None = None) -> dict[str, Finding]:
    findings = machine_findings(
        settings or Settings(),
        cache=tmp_path / "not" / "yet",
        state=tmp_path,
        accelerators=NoAccelerators(),
        proc=proc or tmp_path,
    )
    assert all(finding.ok or finding.fix for finding in findings)
    return {finding.what: finding for finding in findings}


def test_memory_and_disks_are_told(tmp_path: Path) -> None:
    told = found(tmp_path)
    disks = ["disk of the cache", "disk of the state"]
    assert list(told) == ["processors", "memory", "swap", "GPU", *disks]
    assert " GiB available; models may take " in told["memory"].found
    assert told["disk of the cache"].found.startswith(f"{tmp_path}/not/yet: ")


def test_settings_that_leave_nothing_are_told(tmp_path: Path) -> None:
    memory = found(tmp_path, settings=Settings(memory_reserve_bytes=1 << 60))["memory"]
    assert not memory.ok
    assert memory.found.endswith("models may take 0.0 GiB")
    limited = found(tmp_path, settings=Settings(memory_limit_bytes=GIB // 2, memory_reserve_bytes=0))[
        "memory"
    ]
    assert limited.found.endswith("models may take 0.5 GiB")


@pytest.mark.parametrize(("limit_gib", "ok"), [(1, False), (8, True)])
def test_a_limit_around_us_is_told(tmp_path: Path, limit_gib: int, *, ok: bool) -> None:
    write(tmp_path / "cg/a", new(str(limit_gib * GIB), GIB // 2))
    limit = found(tmp_path, version_2(tmp_path, "/a"))["memory limit of the service or container"]
    assert limit.found == f"{limit_gib}.0 GiB, {limit_gib - 0.5} GiB available"
    assert limit.ok == ok
    assert ok or "MemoryMax=" in limit.fix


class OneGpu:
    def look(self) -> list[Gpu]:
        return [Gpu(name="NVIDIA X", total_bytes=24 * GIB, used_bytes=2 * GIB, by_process={})]

    def driver(self) -> str:
        return "580.1"


def test_gpus_and_their_driver_are_told(tmp_path: Path) -> None:
    findings = machine_findings(
        Settings(), cache=tmp_path, state=tmp_path, accelerators=OneGpu(), proc=tmp_path
    )
    told = {finding.what: finding.found for finding in findings}
    assert told["NVIDIA driver"] == "580.1"
    assert told["cuda:0"] == "NVIDIA X, 24.0 GiB, 22.0 GiB free"
