"""What is deleted when a model goes: only what no other one uses, and how much that was."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import SourceNotFound, SourceUnreachable
from orchestrator.values.settings import Settings
from tests.builders import source, spec
from tests.engines.fetch.models import gguf, hub, sha256_of
from tests.engines.fetch.origin import Answer, Origin, Repository
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME
from tests.engines.rig import Arrivals

pytestmark = [REAL_TIME, pytest.mark.asyncio(loop_factories=["asyncio"])]


def files_in(folder: Path) -> list[str]:
    """What is left of models, besides folders, locks and seals."""
    left = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(path.name for path in left if path.parent.name not in {"locks", "seals"})


async def test_a_file_goes_with_the_last_model_that_uses_it(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    shared, own = gguf(1, 50_000), gguf(2, 30_000)
    origin.repositories["org/one"] = Repository(files={"one.gguf": shared, "two.gguf": own})
    origin.repositories["org/copy"] = Repository(files={"same.gguf": shared})
    books = library(runtime, settings=settings)
    one, two, copy = hub("org/one/one.gguf", "a"), hub("org/one/two.gguf", "b"), hub("org/copy", "c")
    for model in (one, two, copy):
        await books.ensure(model, Arrivals())
    assert await books.remove(one, [two, copy]) == 0
    assert books.path_of(copy).read_bytes() == shared
    with pytest.raises(SourceNotFound, match="has not been fetched yet"):
        books.path_of(one)
    assert await books.remove(two, [copy]) == len(own)
    assert await books.remove(two, [copy]) == 0
    assert await books.remove(copy, []) == len(shared)
    assert files_in(runtime / "cache") == []


async def test_two_models_of_one_source_are_two_users(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    origin.repositories["org/one"] = Repository(files={"one.gguf": gguf()})
    books, model = library(runtime, settings=settings), hub("org/one")
    await books.ensure(model, Arrivals())
    assert await books.remove(model, [hub("org/one", "other")]) == 0
    assert books.path_of(model).exists()
    assert await books.remove(model, [hub("org/one@branch", "other")]) == len(gguf())


async def test_all_that_a_source_has_meant_goes_with_its_last_user(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    contents = [gguf(number, 40_000 + number) for number in (1, 2, 3)]
    repository = origin.repositories["org/one"] = Repository(files={"one.gguf": contents[0]})
    books, model = library(runtime, settings=settings), hub("org/one")
    meant = []
    for content in contents:
        repository.move({"one.gguf": content})
        resolved = await books.newest(model)
        meant.append(replace(model, source=replace(model.source, resolved=resolved)))
        await books.ensure(meant[-1], Arrivals())
    assert await books.remove(meant[0], [meant[1], meant[2]]) == len(contents[0])
    assert await books.remove(meant[0], [meant[2]]) == len(contents[1])
    assert books.path_of(meant[2]).read_bytes() == contents[2]
    assert await books.remove(meant[2], []) == len(contents[2])
    assert files_in(runtime / "cache") == []


async def test_what_has_come_of_an_unfinished_download_goes_too(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    origin.repositories["org/one"] = Repository(files={"one.gguf": gguf()})
    origin.breaks_after = 32 * 1024
    origin.instead = lambda _: Answer(status=503) if len(origin.bodies()) > 1 else None
    books = library(runtime, settings=settings)
    with pytest.raises(SourceUnreachable):
        await books.ensure(hub("org/one"), Arrivals())
    partial = runtime / "cache" / "partial" / f"sha256-{sha256_of(gguf())}"
    here = partial.stat().st_size
    assert here > 0
    assert await books.remove(hub("org/one"), []) == here
    assert files_in(runtime / "cache") == []


async def test_what_the_user_has_put_there_stays(runtime: Path) -> None:
    path = runtime / "mine.gguf"
    path.write_bytes(gguf())
    books, model = library(runtime), spec(source=source(str(path), scheme="file"))
    await books.ensure(model, Arrivals())
    assert await books.remove(model, []) == 0
    assert path.read_bytes() == gguf()
