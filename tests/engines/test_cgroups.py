"""Limits of control groups, in trees on disk laid out like the kernel's."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.engines.memory.cgroups import levels
from orchestrator.engines.memory.gauge import Level

GIB = 1 << 30
NO_LIMIT = "9223372036854771712"  # as version 1 says it


def write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)


def new(limit: str, used: int, files: int = 0, slab: int = 0) -> dict[str, str]:
    stat = f"anon 1\nfile 5\ninactive_file {files}\nactive_file 0\nslab_reclaimable {slab}\n"
    return {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": stat}


def old(limit: str, used: int, files: int = 0) -> dict[str, str]:
    stat = f"inactive_file 1\nactive_file 1\ntotal_inactive_file {files}\ntotal_active_file 0\n"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": str(used), "memory.stat": stat}


def process(folder: Path, *, group: str, mount: str) -> Path:
    write(folder, {"cgroup": group + "\n", "mountinfo": f"22 1 8:1 / / rw - ext4 /dev/a rw\n{mount}\n"})
    return folder


def version_2(tmp_path: Path, group: str, root: str = "/") -> Path:
    return process(
        tmp_path / "self",
        group=f"0::{group}",
        mount=f"30 22 0:26 {root} {tmp_path}/cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
    )


def version_1(tmp_path: Path, group: str, root: str = "/") -> Path:
    return process(
        tmp_path / "self",
        group=f"5:cpu,cpuacct:/\n4:memory:{group}\n1:name=systemd:/x\n0::/",
        mount=f"35 31 0:32 {root} {tmp_path}/cg rw,relatime - cgroup cgroup rw,memory\n"
        f"36 31 0:33 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct",
    )


def test_every_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    write(tmp_path / "cg/system.slice/o.service", new(str(4 * GIB), 3 * GIB, files=GIB, slab=GIB // 2))
    write(tmp_path / "cg/system.slice", new(str(8 * GIB), 7 * GIB))
    write(tmp_path / "cg", {})
    assert levels(version_2(tmp_path, "/system.slice/o.service")) == [
        Level(total_bytes=4 * GIB, available_bytes=4 * GIB - GIB * 3 // 2),
        Level(total_bytes=8 * GIB, available_bytes=GIB),
    ]


def test_a_group_without_a_limit_is_none(tmp_path: Path) -> None:
    write(tmp_path / "cg/a/b", new("max", GIB))
    write(tmp_path / "cg/a", new(str(2 * GIB), GIB))
    assert levels(version_2(tmp_path, "/a/b")) == [Level(total_bytes=2 * GIB, available_bytes=GIB)]


def test_version_1_counts_with_the_groups_below(tmp_path: Path) -> None:
    write(tmp_path / "cg/docker/x", old(str(2 * GIB), GIB, files=GIB // 4))
    write(tmp_path / "cg/docker", old(NO_LIMIT, 9 * GIB))
    write(tmp_path / "cg", old(NO_LIMIT, 9 * GIB))
    assert levels(version_1(tmp_path, "/docker/x")) == [
        Level(total_bytes=2 * GIB, available_bytes=GIB + GIB // 4)
    ]


@pytest.mark.parametrize("version", [version_1, version_2])
def test_in_a_container_the_tree_may_begin_at_our_group(tmp_path: Path, version: object) -> None:
    write(tmp_path / "cg", new(str(GIB), 0) | old(str(GIB), 0))
    assert callable(version)
    assert levels(version(tmp_path, "/docker/x", root="/docker/x")) == [
        Level(total_bytes=GIB, available_bytes=GIB)
    ]


def test_more_in_use_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "cg/a", new(str(GIB), 2 * GIB))
    assert levels(version_2(tmp_path, "/a")) == [Level(total_bytes=GIB, available_bytes=0)]


@pytest.mark.parametrize("content", ["", "nonsense\n", "0::/a\n"])
def test_what_cannot_be_read_limits_nothing(tmp_path: Path, content: str) -> None:
    assert levels(tmp_path / "nowhere") == []
    write(
        tmp_path / "self",
        {"cgroup": content, "mountinfo": "short\n30 22 0:26 / /nowhere rw - cgroup2 x rw\n"},
    )
    assert levels(tmp_path / "self") == []


def test_this_process_can_be_asked() -> None:
    for level in levels():
        assert 0 <= level.available_bytes <= level.total_bytes
