"""Folders as MLX reads them that the user has, or that are shipped."""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.errors import SourceCorrupt, SourceNotFound
from orchestrator.values.spec import ModelSpec
from tests.builders import source, spec
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME
from tests.engines.rig import Arrivals

pytestmark = [REAL_TIME, pytest.mark.asyncio(loop_factories=["asyncio"])]

DEMO = Path(__file__).parent.parent.parent.parent / "orchestrator" / "demo" / "tiny-mlx"


@pytest.fixture
def folder(runtime: Path) -> Path:
    shutil.copytree(DEMO, runtime / "mine")
    return runtime / "mine"


def mine(folder: Path, sha256: str | None = None) -> ModelSpec:
    return spec(engine="mlx", source=source(str(folder), scheme="file", sha256=sha256))


@pytest.mark.parametrize("name", ["tiny", "small"])
async def test_the_shipped_folders_are_whole(runtime: Path, name: str) -> None:
    books, model = library(runtime, form="mlx"), spec(location=name, engine="mlx")
    on_disk = await books.ensure(model, Arrivals())
    assert books.path_of(model) == DEMO.parent / f"{name}-mlx"
    assert on_disk.size_bytes == sum(path.stat().st_size for path in books.path_of(model).iterdir())
    assert await books.newest(model) == ""
    assert await books.remove(model, []) == 0


async def test_a_folder_that_is_not_shipped_names_those_that_are(runtime: Path) -> None:
    with pytest.raises(SourceNotFound, match="demo:small, demo:tiny"):
        library(runtime, form="mlx").path_of(spec(location="huge", engine="mlx"))


async def test_a_folder_of_the_user_s_stays_where_it_is(runtime: Path, folder: Path) -> None:
    (folder / "README.md").write_text("not part of it")
    books = library(runtime, form="mlx")
    on_disk = await books.ensure(mine(folder), Arrivals())
    assert on_disk.size_bytes == sum(path.stat().st_size for path in DEMO.iterdir())
    assert books.path_of(mine(folder)) == folder
    assert await books.remove(mine(folder), []) == 0
    assert await books.ensure(mine(folder), Arrivals()) == on_disk


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def a_page(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<!DOCTYPE html>")


def an_odd_header(folder: Path) -> None:
    text = json.dumps({"weight": {"dtype": "F16"}}).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)


@pytest.mark.parametrize("damage", [cut_short, a_page, an_odd_header])
async def test_weights_that_are_damaged_are_told_by_their_header(
    runtime: Path, folder: Path, damage: object
) -> None:
    assert callable(damage)
    damage(folder)
    with pytest.raises(SourceCorrupt, match=r"model\.safetensors is cut short, or no safetensors"):
        await library(runtime, form="mlx").ensure(mine(folder), Arrivals())


async def test_no_folder_and_no_model_are_not_found(runtime: Path, folder: Path) -> None:
    books = library(runtime, form="mlx")
    with pytest.raises(SourceNotFound, match="is not there"):
        await books.ensure(mine(runtime / "nowhere"), Arrivals())
    with pytest.raises(SourceNotFound, match="is a file, and MLX loads folders"):
        await books.ensure(mine(folder / "config.json"), Arrivals())
    (folder / "config.json").unlink()
    with pytest.raises(SourceNotFound, match=r"without config\.json"):
        await books.ensure(mine(folder), Arrivals())


async def test_a_folder_can_be_pinned_to_its_content(runtime: Path, folder: Path) -> None:
    books = library(runtime, form="mlx")
    with pytest.raises(SourceCorrupt, match="has sha256 ") as caught:
        await books.ensure(mine(folder, "0" * 64), Arrivals())
    digest = caught.value.what.partition("has sha256 ")[2][:64]
    await books.ensure(mine(folder, digest), Arrivals())
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(SourceCorrupt):
        await books.ensure(mine(folder, digest), Arrivals())
