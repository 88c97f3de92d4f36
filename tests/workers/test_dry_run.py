"""The child that goes through the motions: what it finds, and what it says of files that are none."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.workers.frames import DryRun, Failed, FailureKind, Launch, decode_dry_run, encode_launch
from orchestrator.workers.llama_cpp import Model
from orchestrator.workers.tensors import sizes
from tests.workers.child import launch_of

COMMAND = [sys.executable, "-m", "orchestrator.workers.estimate"]
MIB = 1 << 20


def ask(launch: Launch) -> DryRun | Failed:
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(encode_launch(launch))
        child.stdin.flush()
        return decode_dry_run(child.stdout.readline())


def ram(launch: Launch) -> int:
    found = ask(launch)
    assert isinstance(found, DryRun)
    assert set(found.pools) == {"ram"}
    return found.pools["ram"]


def test_more_context_and_more_at_once_take_more(models: Path, folder: Path) -> None:
    def of(context: int, parallel: int) -> int:
        return ram(launch_of(models / "slow.gguf", folder, context=context, parallel=parallel))

    one, long, wide = of(512, 1), of(2048, 1), of(512, 4)
    cells_bytes = 1536 * 4 * 2 * 512 * 2  # cells more, layers, keys and values, width, half precision
    assert cells_bytes * 0.9 < long - one < cells_bytes * 1.5
    assert abs(wide - long) < 4 * MIB
    assert one > (models / "slow.gguf").stat().st_size


def test_embeddings_take_a_context_of_their_own(models: Path, folder: Path) -> None:
    without = ram(launch_of(models / "slow.gguf", folder, parallel=1))
    assert ram(launch_of(models / "slow.gguf", folder, parallel=1, embeds=True)) > without + 4 * MIB


def test_nothing_is_left_and_nothing_is_bound(models: Path, folder: Path) -> None:
    ram(launch_of(models / "tiny.gguf", folder))
    assert list(folder.iterdir()) == []


def test_the_runtime_says_what_it_was_built_for(models: Path, folder: Path) -> None:
    found = ask(launch_of(models / "tiny.gguf", folder))
    assert isinstance(found, DryRun)
    assert "CPU" in found.system


def truncated(folder: Path) -> Path:
    path = folder / "cut.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(range(256)))
    return path


def test_what_does_not_load_is_refused_in_the_same_words(models: Path, folder: Path) -> None:
    assert ask(launch_of(folder / "none.gguf", folder)) == Failed(
        kind=FailureKind.NOT_FOUND, message=f"there is no file {folder}/none.gguf"
    )
    cut = ask(launch_of(truncated(folder), folder))
    assert isinstance(cut, Failed)
    assert cut.kind is FailureKind.CORRUPT
    vast = ask(launch_of(models / "tiny.gguf", folder, context=1 << 24, parallel=4))
    assert isinstance(vast, Failed)
    assert vast.message.startswith("context times parallel")


def test_an_accelerator_that_the_build_lacks_is_refused(models: Path, folder: Path) -> None:
    found = ask(launch_of(models / "tiny.gguf", folder, accelerator="cuda"))
    assert isinstance(found, Failed)
    assert found.kind is FailureKind.UNAVAILABLE
    assert "asks for cuda" in found.message


def test_the_processor_alone_can_be_asked_for(models: Path, folder: Path) -> None:
    assert ram(launch_of(models / "tiny.gguf", folder, accelerator="cpu")) > 0
    assert Model(models / "tiny.gguf", accelerator="cpu").n_vocab > 0


def test_sizes_of_tensors_add_up_to_the_model(models: Path, folder: Path) -> None:
    found = sizes(models / "slow.gguf")
    assert sum(found.values()) == Model(models / "slow.gguf", dry=True).size_bytes
    assert sizes(truncated(folder)) == {}


@pytest.mark.parametrize("line", [b"", b"[]\n", b'{"ready": true}\n', b'{"pools": 3}\n', b"no\n"])
def test_what_is_no_answer_is_told(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (whatever it says)
        decode_dry_run(line)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing bounds a process")
def test_what_a_file_claims_to_have_takes_no_more_than_a_bound(tmp_path: Path, folder: Path) -> None:
    """A vocabulary of 300 million empty words, in a file that takes no room on the disk."""
    path = tmp_path / "claims.gguf"
    words = struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 8, 300_000_000)
    with path.open("wb") as file:
        file.write(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + words)
        file.truncate(3 << 30)
    script = "from orchestrator.workers import estimate as e; e._MOST_BYTES = 300 << 20; e.main()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(encode_launch(launch_of(path, folder)))
        child.stdin.flush()
        line = child.stdout.readline()
        _, _, usage = os.wait4(child.pid, 0)
    assert isinstance(decode_dry_run(line), Failed)
    assert usage.ru_maxrss < 600 * 1024  # in KiB
