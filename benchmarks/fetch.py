"""What fetching costs: its rate, the child's processor time and memory, and what a kill costs in bytes.

    python -m benchmarks.fetch [MIB]

A server on loopback plays the hub. The kill is also done to the hub's own library, for comparison.
"""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from orchestrator.errors import EngineError
from orchestrator.values.settings import Settings
from tests.engines.fetch.models import gguf, hub
from tests.engines.fetch.origin import Origin, Repository, commit_of, sha256
from tests.engines.libraries import library

MIB: Final = 1 << 20
# The hub's library, fetching the same file into a cache of its own.
OTHER: Final = """
import sys
from huggingface_hub import hf_hub_download
hf_hub_download("org/one", "one.gguf", cache_dir=sys.argv[1], endpoint=sys.argv[2])
"""


async def ours(folder: Path, origin: Origin) -> None:
    await library(folder, settings=Settings(hf_endpoint=origin.url)).ensure(hub("org/one"), lambda _: None)


async def rate(folder: Path, origin: Origin, size: int) -> None:
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    await ours(folder, origin)
    took_s, after = time.monotonic() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"fetch of {size / MIB:.0f} MiB: {took_s:.2f} s, {size / MIB / took_s:.0f} MiB/s, "
        f"{cpu_s:.2f} s of processor"
    )
    began_s = time.monotonic()
    await ours(folder, origin)
    print(f"the same again, all of it here: {(time.monotonic() - began_s) * 1e3:.1f} ms, no request")


async def killed(folder: Path, origin: Origin, size: int) -> int:
    """Return how many bytes are sent for a fetch that is killed half way."""
    store = origin.elsewhere or origin
    before = store.sent_bytes
    async with asyncio.TaskGroup() as group:
        group.create_task(_kill(store, before + size // 2))
        with suppress(EngineError):
            await ours(folder, origin)
    await ours(folder, origin)
    return store.sent_bytes - before


async def _kill(store: Origin, sent_bytes: int) -> None:
    while store.sent_bytes < sent_bytes:  # noqa: ASYNC110 (a server in threads sets no event)
        await asyncio.sleep(0.001)
    for child in psutil.Process().children():
        child.kill()


def other_killed(folder: Path, origin: Origin, size: int) -> int:
    """Return the same for the hub's own library."""
    store = origin.elsewhere or origin
    before = store.sent_bytes
    command = [sys.executable, "-c", OTHER, str(folder), origin.url]
    environment = os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
    with subprocess.Popen(command, env=environment) as process:
        while store.sent_bytes < before + size // 2 and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    subprocess.run(command, env=environment, check=True)
    return store.sent_bytes - before


def main() -> None:
    """Run, and print one line for each figure."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else 512) * MIB
    with (
        tempfile.TemporaryDirectory() as folder,
        Origin().running() as origin,
        Origin().running() as elsewhere,
    ):
        place, origin.elsewhere = Path(folder), elsewhere
        origin.repositories["org/one"] = Repository(files={"one.gguf": gguf(7, size)})
        elsewhere.chunk_bytes = MIB
        commit_of(origin.repositories["org/one"].files)  # hashed once, and not while the clock runs
        sha256(origin.repositories["org/one"].files["one.gguf"])
        asyncio.run(rate(place / "rate", origin, size))
        for name, sent in (
            ("ours", asyncio.run(killed(place / "killed", origin, size))),
            ("the hub's library", other_killed(place / "other", origin, size)),
        ):
            print(f"killed half way and started again, {name}: {sent / size:.2f} times the file is sent")


if __name__ == "__main__":
    main()
