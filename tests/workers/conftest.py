import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from benchmarks.random_gguf import TINY, Shape, write
from tests.workers.child import Client, client_of, launch_of, report, start, stop

SLOW_SHAPE = Shape(dim=512, layers=4, heads=8, ffn=1536, vocab=2048, context=4096)  # some ms a token


@pytest.fixture(scope="session")
def models() -> Iterator[Path]:
    """A folder with two random-weight models: tiny.gguf, and slow.gguf for what takes time."""
    with tempfile.TemporaryDirectory(prefix="om") as folder:
        write(Path(folder) / "tiny.gguf", TINY, kind="f32")
        write(Path(folder) / "slow.gguf", SLOW_SHAPE, kind="f16")
        yield Path(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ow") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def tiny_socket(models: Path) -> Iterator[str]:
    """The socket of a child that serves tiny.gguf to a whole module; its output has to stay clean."""
    with tempfile.TemporaryDirectory(prefix="ow") as folder:
        launch = launch_of(models / "tiny.gguf", Path(folder))
        with (Path(folder) / "stderr").open("w+b") as errors:
            child = start(launch, errors)
            try:
                report(child)
                yield launch.socket
            finally:
                stdout = stop(child)
            errors.seek(0)
            log = errors.read().decode()
        assert stdout == b""
        assert "Traceback" not in log, log[:4000]
        assert "ERROR" not in log, log[:4000]


@pytest.fixture
async def tiny(tiny_socket: str) -> AsyncIterator[Client]:
    async with client_of(tiny_socket) as client:
        yield client
