"""Pages of a model file that were copied out of it are let go of."""

import mmap
import sys
from pathlib import Path

import pytest

from orchestrator.workers.pages import any_copied, let_go

SIZE = 8 << 20


@pytest.mark.parametrize(
    ("line", "copied"),
    [
        ("load_tensors:   CPU_Mapped model buffer size =    85.74 MiB", False),
        ("load_tensors:   CPU_REPACK model buffer size =    65.25 MiB", True),
        ("load_tensors:   CPU_REPACK model buffer size =     0.00 MiB", False),
        ("load_tensors:        CUDA0 model buffer size =   650.25 MiB", True),
        ("load_tensors:  Metal_Mapped model buffer size =   650.25 MiB", False),
        ("llama_context:        CPU  output buffer size =     0.12 MiB", False),
    ],
)
def test_what_is_copied_is_told_by_the_log(line: str, *, copied: bool) -> None:
    assert any_copied(["print_info: file type", line]) == copied


def resident_bytes(path: Path) -> int:
    counted, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(f" {path}")
        elif inside and line.startswith("Rss:"):
            counted += int(line.split()[1]) * 1024
    return counted


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is done")
def test_pages_go_and_their_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "model with spaces.gguf"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[at] for at in range(0, SIZE, 4096)) == 0
        assert resident_bytes(path) == SIZE
        let_go(path)
        assert resident_bytes(path) == 0
        assert mapped[SIZE - 1] == 255
