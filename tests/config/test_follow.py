"""Real file systems and real watchers: what is saved is read, however it is saved."""

import asyncio
import contextlib
import random
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from orchestrator.config import contents
from orchestrator.config.contents import Contents
from orchestrator.config.follow import Follower
from orchestrator.config.scan import Scanner
from orchestrator.values.catalog import Reading
from tests.config import edits
from tests.config.engines import ENGINES
from tests.config.files import MODEL, put, start

pytestmark = pytest.mark.looptime(False)  # noqa: FBT003 (its only argument)

DEADLINE_S = 8.0  # generous: the machine may be busy; a hint that is lost shows as a scan after EVERY_S
EVERY_S = 60.0


class Followed:
    """A follower at work on a folder, and everything that it posted."""

    def __init__(self, root: Path, *, every_s: float = EVERY_S, watch: str = "auto") -> None:
        self.root = root
        self.readings: list[Reading] = []
        self._posted = asyncio.Condition()
        self.follower = Follower(
            Scanner(root, env={}, engines=ENGINES), post=self._take, every_s=every_s, watch=watch
        )

    async def _take(self, reading: Reading) -> None:
        async with self._posted:
            self.readings.append(reading)
            self._posted.notify_all()

    async def until(self, fits: Callable[[Reading], bool]) -> Reading:
        """Return the first reading posted from now on, or the present one, that fits."""
        async with asyncio.timeout(DEADLINE_S), self._posted:
            await self._posted.wait_for(lambda: bool(self.readings) and fits(self.readings[-1]))
            return self.readings[-1]

    async def context(self, tokens: int, name: str = "fast") -> Reading:
        return await self.until(
            lambda r: name in r.catalog.models and r.catalog.models[name].value.context == tokens
        )


@contextlib.asynccontextmanager
async def following(root: Path, *, every_s: float = EVERY_S, watch: str = "auto") -> AsyncIterator[Followed]:
    followed = Followed(root, every_s=every_s, watch=watch)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(followed.follower.run())
        await followed.until(lambda _reading: True)
        yield followed
        running.cancel()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return start(tmp_path, fast=MODEL.format(context=1))


@pytest.mark.parametrize("save", edits.GOOD)
async def test_a_save_is_read_soon(root: Path, save: edits.Way) -> None:
    async with following(root) as followed:
        for tokens in (2, 3, 4):
            save(root / "models.d/fast.yaml", MODEL.format(context=tokens))
            await followed.context(tokens)
        assert followed.readings[-1].catalog.models["fast"].generation == 4
        assert not followed.readings[-1].problems


async def test_a_burst_of_writes_is_not_read_half_way(root: Path) -> None:
    async with following(root) as followed:
        with (root / "models.d/fast.yaml").open("w") as file:
            for line in MODEL.format(context=7).splitlines(keepends=True):
                file.write(line)
                file.flush()
                await asyncio.sleep(0.01)  # a slow writer: real time is what the debounce is about
        await followed.context(7)
        assert not any(reading.problems for reading in followed.readings)


async def test_a_folder_replaced_by_another_is_followed(root: Path) -> None:
    async with following(root) as followed:
        fresh = root / "fresh"
        shutil.copytree(root / "models.d", fresh)
        (root / "models.d").rename(root / "old")
        put(fresh, "fast", MODEL.format(context=2))
        fresh.rename(root / "models.d")
        await followed.context(2)
        await followed.follower.rescan()
        put(root / "models.d", "fast", MODEL.format(context=3))
        await followed.context(3)


async def test_a_folder_deleted_and_made_again_is_followed(root: Path) -> None:
    async with following(root) as followed:
        shutil.rmtree(root / "models.d")
        reading = await followed.until(lambda r: bool(r.held))
        assert "fast" in reading.catalog.models
        (root / "models.d").mkdir()
        put(root / "models.d", "fast", MODEL.format(context=2))
        reading = await followed.context(2)
        assert not reading.held
        put(root / "models.d", "fast", MODEL.format(context=3))
        await followed.context(3)


async def test_a_swap_of_a_data_link_is_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: the file never changes, a link above it does."""
    models = tmp_path / "models.d"
    for version in (1, 2, 3):
        (models / f"..v{version}").mkdir(parents=True)
        put(models / f"..v{version}", "fast", MODEL.format(context=version))
    (models / "..data").symlink_to("..v1")
    (models / "fast.yaml").symlink_to("..data/fast.yaml")
    async with following(tmp_path) as followed:
        for version in (2, 3):
            (models / "..data_tmp").symlink_to(f"..v{version}")
            (models / "..data_tmp").rename(models / "..data")
            await followed.context(version)


async def test_the_whole_models_folder_may_be_a_link_that_is_swapped(tmp_path: Path) -> None:
    for version in (1, 2):
        (tmp_path / f"v{version}").mkdir()
        put(tmp_path / f"v{version}", "fast", MODEL.format(context=version))
    (tmp_path / "models.d").symlink_to("v1")
    async with following(tmp_path) as followed:
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").rename(tmp_path / "models.d")
        await followed.context(2)
        put(tmp_path / "v2", "fast", MODEL.format(context=3))
        await followed.context(3)


async def test_a_link_high_above_may_be_swapped(tmp_path: Path) -> None:
    """As deployments do: `current` points to one release after another."""
    for version in (1, 2):
        start(tmp_path / f"releases/v{version}", fast=MODEL.format(context=version))
    (tmp_path / "current").symlink_to("releases/v1")
    (tmp_path / "conf").symlink_to("current")
    async with following(tmp_path / "conf") as followed:
        (tmp_path / "next").symlink_to("releases/v2")
        (tmp_path / "next").rename(tmp_path / "current")
        await followed.context(2)
        put(tmp_path / "releases/v2/models.d", "fast", MODEL.format(context=3))
        await followed.context(3)


async def test_a_changed_secret_is_seen(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/where").write_text("/models/a.gguf")
    text = f"engine: llama-cpp\nsource: 'file:${{file:{tmp_path}/secrets/where}}'\n"
    put(root / "models.d", "secret", text)
    async with following(root) as followed:
        (tmp_path / "secrets/where").write_text("/models/other.gguf")
        reading = await followed.until(lambda r: r.catalog.models["secret"].generation == 2)
        assert reading.catalog.models["secret"].value.source.location == "/models/other.gguf"


async def test_an_edit_behind_a_link_is_seen(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles"
    elsewhere.mkdir()
    put(elsewhere, "linked", MODEL.format(context=1))
    (root / "models.d/linked.yaml").symlink_to(elsewhere / "linked.yaml")
    async with following(root) as followed:
        put(elsewhere, "linked", MODEL.format(context=2))
        await followed.context(2, "linked")


async def test_without_events_the_timer_finds_it(root: Path) -> None:
    async with following(root, every_s=0.1, watch="poll") as followed:
        edits.replace(root / "models.d/fast.yaml", MODEL.format(context=2))
        await followed.context(2)


async def test_after_many_rounds_of_broken_edits_the_state_is_the_right_one(
    root: Path, tmp_path: Path
) -> None:
    """Edits come faster than scans, in every bad way; what is on disk at the end is in force."""
    path, draw = root / "models.d/fast.yaml", random.Random(7)  # noqa: S311 (a fixed sequence of edits)
    (tmp_path / "elsewhere").mkdir()
    put(root / "models.d", "still", MODEL.format(context=1))
    async with following(root) as followed:
        for number in range(200):
            edits.any_way(draw, tmp_path / "elsewhere")(path, MODEL.format(context=10 + number))
            await asyncio.sleep(draw.choice([0, 0, 0, 0.02, 0.15]))  # some are scanned, most overtaken
            path.chmod(0o644)
        edits.replace(path, MODEL.format(context=7))
        reading = await followed.context(7)
        assert not reading.problems
        for each in followed.readings:
            assert each.catalog.models["still"] is reading.catalog.models["still"]
            assert "fast" in each.catalog.models
        generations = [each.catalog.models["fast"].generation for each in followed.readings]
        assert generations == sorted(generations)


async def test_scans_do_not_wake_themselves(root: Path) -> None:
    async with following(root) as followed:
        await followed.follower.rescan()
        passes = followed.readings.copy()
        scanner = followed.follower._scanner  # noqa: SLF001 (counted from within)
        count = 0
        scan = scanner.scan

        def counting(now: object) -> Reading:
            nonlocal count
            count += 1
            return scan(now)  # type: ignore[arg-type]

        scanner.scan = counting  # type: ignore[method-assign]
        await followed.follower.rescan()
        await asyncio.sleep(0.5)  # several times the quiet time: a loop would show
        assert count == 1
        assert followed.readings == passes


async def test_a_rescan_sees_what_was_written_before_it(root: Path) -> None:
    async with following(root, watch="poll") as followed:
        put(root / "models.d", "fast", MODEL.format(context=9))
        reading = await followed.follower.rescan()
        assert reading.catalog.models["fast"].value.context == 9
        assert followed.readings[-1] is reading


async def test_a_rescan_after_a_deletion_waits_until_it_counts(root: Path) -> None:
    put(root / "models.d", "other", MODEL.format(context=1))
    async with following(root, watch="poll") as followed:
        (root / "models.d/other.yaml").unlink()
        reading = await followed.follower.rescan()
        assert set(reading.catalog.models) == {"fast"}


async def test_a_confirmed_removal_is_obeyed(root: Path) -> None:
    async with following(root) as followed:
        (root / "models.d").rename(root / "gone")
        await followed.until(lambda r: bool(r.held))
        held = await followed.follower.confirm_removal()
        assert [h.path for h in held] == ["models.d"]
        assert not followed.readings[-1].catalog.models


async def test_the_end_of_following_waits_for_a_scan_that_is_running(root: Path) -> None:
    reading, go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def slowly(path: Path | str, most_bytes: int) -> Contents:
        reading.set()
        assert go_on.wait(DEADLINE_S)
        ended.append("scan")
        return contents.read(path, most_bytes)

    follower = Follower(
        Scanner(root, env={}, read=slowly, engines=ENGINES), post=lambda _reading: None, watch="poll"
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(follower.run())
        assert await asyncio.to_thread(reading.wait, DEADLINE_S)
        running.cancel()
        tasks.create_task(asyncio.to_thread(go_on.set))
        await asyncio.wait([running])
        ended.append("follower")
    assert ended == ["scan", "follower"]


async def test_the_end_of_following_cancels_a_rescan(root: Path) -> None:
    waiting: list[asyncio.Task[Reading]] = []
    async with asyncio.TaskGroup() as outside, following(root, watch="poll") as followed:
        (root / "models.d/fast.yaml").unlink()  # keeps the rescan open for two seconds
        waiting.append(outside.create_task(followed.follower.rescan()))
        await asyncio.sleep(0)
    assert waiting[0].cancelled()
