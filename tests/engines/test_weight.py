"""What a process takes: this one's own children, and the kernel's words."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.memory.accelerators import Gpu, NoAccelerators
from orchestrator.engines.memory.weight import Weight, anonymous, own, shares, weigh, weight_of

MIB = 1 << 20
ROLLUP = """\
5621200fc000-7ffcd50ca000 ---p 00000000 00:00 0                          [rollup]
Rss:               27276 kB
Pss:               22170 kB
Pss_Dirty:         15232 kB
Pss_Anon:          15232 kB
Pss_File:           6838 kB
Pss_Shmem:           100 kB
Shared_Clean:       7948 kB
"""


def test_the_share_and_what_is_not_of_files() -> None:
    assert shares(ROLLUP) == (22170 * 1024, 15332 * 1024)


def test_an_old_kernel_tells_only_the_share() -> None:
    assert shares("x [rollup]\nRss: 3 kB\nPss: 2 kB\n") == (2048, 2048)


def test_a_process_without_memory_is_gone() -> None:
    assert shares("") is None


def test_what_a_process_has_of_its_own() -> None:
    assert anonymous("Name:\tx\nRssAnon:\t  100 kB\nRssFile:\t 9 kB\nRssShmem:\t  3 kB\n") == 103 * 1024
    assert anonymous("Name:\tx\nState:\tZ (zombie)\n") is None


TAKES = """
import mmap, sys
own = bytearray(b"x") * (64 << 20)
file = open(sys.argv[1], "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(mapped[at] for at in range(0, len(mapped), 4096))
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere files are not told apart")
def test_pages_of_files_are_taken_but_not_held(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"x" * (96 * MIB))
    command = [sys.executable, "-c", TAKES, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        gone = 1 << 22
        weights = weigh([child.pid, gone], NoAccelerators())
        assert set(weights) == {child.pid}
        weight = weights[child.pid]
        assert 64 * MIB < weight.own_bytes < 90 * MIB
        held = own([child.pid, gone], NoAccelerators())
        assert set(held) == {child.pid}
        assert abs(held[child.pid]["ram"] - weight.own_bytes) < MIB
        assert 96 * MIB < weight.ram_bytes - weight.own_bytes < 120 * MIB
        child.kill()
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            continue
        assert weight_of(child.pid) is None
        assert own([child.pid], NoAccelerators()) == {}


def test_memory_of_gpus_is_added() -> None:
    me = psutil.Process().pid
    weight = weight_of(me, [Gpu(name="A", total_bytes=9, used_bytes=5, by_process={me: 4})])
    assert isinstance(weight, Weight)
    assert weight.gpu_bytes == (("cuda:0", 4),)
