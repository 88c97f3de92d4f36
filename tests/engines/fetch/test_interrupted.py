"""Fetches that are killed at random bytes go on where they were, and nothing that is here comes twice."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.library import Library
from orchestrator.errors import EngineError
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec
from tests.engines.fetch.models import gguf, hub, sha256_of, web
from tests.engines.fetch.origin import Origin, Repository
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME, SOON_S, until
from tests.engines.rig import Arrivals

pytestmark = [REAL_TIME, pytest.mark.asyncio(loop_factories=["asyncio"])]

ROOT = Path(__file__).parent.parent.parent.parent
KILLS = 20
SIZE = 2_000_000
# What may be between a server and a child when that dies, in buffers of the kernel.
IN_FLIGHT = 256 * 1024


def fetchers(parent: int = 0) -> list[psutil.Process]:
    """The live children that fetch."""
    found = []
    for child in psutil.Process(parent or None).children():
        with suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE and "orchestrator.workers.fetch" in child.cmdline():
                found.append(child)
    return found


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def partial_of(folder: Path, content: bytes) -> Path:
    return folder / "cache" / "partial" / f"sha256-{sha256_of(content)}"


def size_of(path: Path) -> int:
    return path.stat().st_size


async def kill_after(origin: Origin, sent_bytes: int) -> None:
    """Kill the child when the server has sent so much more."""
    aim = origin.sent_bytes + sent_bytes
    await until(lambda: origin.sent_bytes >= aim)
    for child in fetchers():
        child.kill()


async def interrupted(books: Library, wanted: ModelSpec, origin: Origin, partial: Path) -> list[int]:
    """Fetch while the children are killed again and again; return how much was here after each kill."""
    draw, here = random.Random(7), []  # noqa: S311 (no secret)
    for _ in range(KILLS):
        async with asyncio.TaskGroup() as group:
            group.create_task(kill_after(origin, draw.randrange(1, SIZE // KILLS)))
            with pytest.raises(EngineError, match="killed"):
                await books.ensure(wanted, Arrivals())
        here.append(size_of(partial))
    return here


@pytest.fixture(params=["hub", "web"])
def world(
    request: pytest.FixtureRequest, origin: Origin, safe_origin: Origin, certificate: str, runtime: Path
) -> tuple[Library, ModelSpec, Origin, bytes]:
    """A model of one kind, the server whose bytes count, and what should come."""
    model = gguf(7, SIZE)
    settings = Settings(hf_endpoint=origin.url, fetch_stall_s=SOON_S)
    books = library(runtime, settings=settings, SSL_CERT_FILE=certificate)
    if request.param == "hub":
        origin.repositories["org/one"] = Repository(files={"one.gguf": model})
        return books, hub("org/one"), origin, model
    safe_origin.files["one.gguf"] = model
    return books, web(f"{safe_origin.url}/files/one.gguf", model), safe_origin, model


async def test_twenty_kills_at_random_bytes(
    world: tuple[Library, ModelSpec, Origin, bytes], runtime: Path, figure: Callable[[str], None]
) -> None:
    books, wanted, origin, model = world
    origin.chunk_bytes, origin.pace_s = 4096, 0.001
    here = await interrupted(books, wanted, origin, partial_of(runtime, model))
    origin.pace_s = 0.0
    await books.ensure(wanted, Arrivals())
    assert books.path_of(wanted).read_bytes() == model
    assert [asked.first for asked in origin.bodies()] == [0, *here]
    assert SIZE <= origin.sent_bytes <= SIZE + KILLS * IN_FLIGHT
    figure(
        f"{KILLS} kills of a fetch of {SIZE} bytes: no byte that was here was asked for again; "
        f"{origin.sent_bytes - SIZE} were on their way when a child died"
    )


DAEMON = """
import asyncio, sys
from pathlib import Path
from orchestrator.values.settings import Settings
from tests.engines.fetch.models import hub
from tests.engines.libraries import library

books = library(Path(sys.argv[1]), settings=Settings(hf_endpoint=sys.argv[2]))
asyncio.run(books.ensure(hub("org/one"), print))
"""


async def test_the_child_dies_with_its_daemon_and_the_next_one_goes_on(origin: Origin, runtime: Path) -> None:
    model = gguf(7, SIZE)
    origin.repositories["org/one"] = Repository(files={"one.gguf": model})
    origin.chunk_bytes, origin.pace_s = 4096, 0.001
    daemon = subprocess.Popen(  # noqa: ASYNC220 (a daemon to be killed)
        [sys.executable, "-c", DAEMON, str(runtime), origin.url],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    with daemon:
        await until(lambda: origin.sent_bytes > SIZE // 4)
        (child,) = fetchers(daemon.pid)
        daemon.send_signal(signal.SIGKILL)
        await until(lambda: is_gone(child))
    here = partial_of(runtime, model).stat().st_size
    assert here > 0
    origin.pace_s = 0.0
    books = library(runtime, settings=Settings(hf_endpoint=origin.url))
    await books.ensure(hub("org/one"), Arrivals())
    assert origin.bodies()[-1].first == here
    assert books.path_of(hub("org/one")).read_bytes() == model


async def test_cancelling_ends_the_child_and_keeps_what_has_come(origin: Origin, runtime: Path) -> None:
    model = gguf(7, SIZE)
    origin.repositories["org/one"] = Repository(files={"one.gguf": model})
    origin.chunk_bytes, origin.pace_s = 4096, 0.001
    books = library(runtime, settings=Settings(hf_endpoint=origin.url))
    async with asyncio.TaskGroup() as group:
        fetching = group.create_task(books.ensure(hub("org/one"), Arrivals()))
        await until(lambda: origin.sent_bytes > SIZE // 4)
        began_s = time.monotonic()
        fetching.cancel()
    assert time.monotonic() - began_s < 1
    assert fetchers() == []
    origin.pace_s, before = 0.0, origin.sent_bytes
    await books.ensure(hub("org/one"), Arrivals())
    assert origin.sent_bytes - before <= SIZE - SIZE // 4 + IN_FLIGHT
    assert books.path_of(hub("org/one")).read_bytes() == model


async def test_two_models_with_one_file_share_its_download(origin: Origin, runtime: Path) -> None:
    model = gguf(7, SIZE)
    origin.repositories["org/one"] = Repository(files={"one.gguf": model})
    origin.repositories["org/copy"] = Repository(files={"same.gguf": model})
    origin.chunk_bytes, origin.pace_s = 4096, 0.004
    first, second = Arrivals(), Arrivals()
    wanted = [(hub("org/one", "a"), first), (hub("org/copy", "b"), second)]
    async with asyncio.TaskGroup() as group:
        for model_spec, arrivals in wanted:
            books = library(runtime, settings=Settings(hf_endpoint=origin.url))
            group.create_task(books.ensure(model_spec, arrivals))
    assert origin.sent_bytes == SIZE
    for arrivals in (first, second):
        assert any(0 < told.done_bytes < told.total_bytes for told in arrivals.told)
    books = library(runtime)
    paths = [books.path_of(each) for each, _ in wanted]
    assert [path.name for path in paths] == ["one.gguf", "same.gguf"]
    assert paths[0].samefile(paths[1])


async def test_models_of_one_source_do_not_get_in_each_other_s_way(origin: Origin, runtime: Path) -> None:
    files = {"config.json": b"{}", "model.safetensors": gguf(1), "tokenizer.json": b"[]"}
    origin.repositories["org/mlx"] = Repository(files=files)
    books = library(runtime, form="mlx", settings=Settings(hf_endpoint=origin.url))
    models = [hub("org/mlx", name) for name in "abcd"]
    found = await asyncio.gather(*(books.ensure(model, Arrivals()) for model in models))
    assert len(set(found)) == 1
    assert len(origin.bodies()) == 1
    assert {path.name for path in books.path_of(models[0]).iterdir()} == set(files)


async def test_who_waits_for_a_download_goes_on_with_it_when_it_dies(origin: Origin, runtime: Path) -> None:
    model = gguf(7, SIZE)
    origin.repositories["org/one"] = Repository(files={"one.gguf": model})
    origin.repositories["org/copy"] = Repository(files={"same.gguf": model})
    origin.chunk_bytes, origin.pace_s = 4096, 0.004
    books = library(runtime, settings=Settings(hf_endpoint=origin.url))
    told = Arrivals()

    async def doomed() -> None:
        with suppress(EngineError):
            await books.ensure(hub("org/one", "a"), Arrivals())

    async with asyncio.TaskGroup() as group:
        group.create_task(doomed())
        await until(lambda: origin.sent_bytes > 0)
        (first,) = fetchers()
        group.create_task(books.ensure(hub("org/copy", "b"), told))
        await until(lambda: any(each.done_bytes for each in told.told))
        first.kill()
        # Its last thread holds the connection until it has been waited for; meanwhile the server would pour
        # all the rest into buffers that nobody reads.
        await until(lambda: not psutil.pid_exists(first.pid))
        origin.pace_s = 0.0
    assert books.path_of(hub("org/copy", "b")).read_bytes() == model
    assert origin.sent_bytes <= SIZE + IN_FLIGHT
