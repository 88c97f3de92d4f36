"""Fetching from the hub, as far as an imitation of it can tell."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from orchestrator.errors import (
    EngineError,
    NotAllowed,
    SourceCorrupt,
    SourceNotFound,
    SourceUnreachable,
)
from orchestrator.values.settings import Settings
from tests.engines.fetch.models import gguf, hub, sha256_of
from tests.engines.fetch.origin import Answer, Asked, Origin, Repository
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME
from tests.engines.rig import Arrivals

# What happens happens in a child: one kind of event loop is enough here.
pytestmark = [REAL_TIME, pytest.mark.asyncio(loop_factories=["asyncio"])]

TOKEN = "hf_" + "x" * 34
CONFIG = b'{"model_type": "llama"}'


async def test_a_repository_with_one_model_needs_no_file_name(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    model = gguf()
    origin.repositories["org/one"] = Repository(files={"README.md": b"read me", "one-q8.gguf": model})
    books, arrivals = library(runtime, settings=settings), Arrivals()
    on_disk = await books.ensure(hub("org/one"), arrivals)
    assert (on_disk.resolved, on_disk.size_bytes) == (sha256_of(model), len(model))
    path = books.path_of(hub("org/one"))
    assert path.name == "one-q8.gguf"
    assert path.read_bytes() == model
    assert path.stat().st_mode & 0o777 == 0o400
    told = arrivals.told[-1]
    assert (told.done_bytes, told.total_bytes) == (len(model), len(model))


async def test_what_is_here_takes_no_request(origin: Origin, settings: Settings, runtime: Path) -> None:
    origin.repositories["org/one"] = Repository(files={"one.gguf": gguf()})
    first = await library(runtime, settings=settings).ensure(hub("org/one"), Arrivals())
    asked = len(origin.asked)
    offline = replace(settings, offline=True)
    assert await library(runtime, settings=offline).ensure(hub("org/one"), Arrivals()) == first
    assert len(origin.asked) == asked


async def test_several_models_are_listed_with_their_sizes(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    files = {"a-q4.gguf": gguf(1, 2048), "a-q8.gguf": gguf(2, 4096), "mmproj-a.gguf": gguf(3, 1024)}
    origin.repositories["org/many"] = Repository(files=files)
    books = library(runtime, settings=settings)
    with pytest.raises(SourceNotFound) as caught:
        await books.ensure(hub("org/many"), Arrivals())
    assert caught.value.where == "fast"
    assert "hf:org/many" in caught.value.what
    assert caught.value.fix == (
        "write hf:org/many/FILE, with one of: a-q4.gguf (2.0 KiB), a-q8.gguf (4.0 KiB)"
    )


async def test_a_file_that_is_not_there_has_a_likely_neighbour(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    origin.repositories["org/many"] = Repository(files={"m-Q4_K_M.gguf": gguf(1), "m-Q8_0.gguf": gguf(2)})
    with pytest.raises(SourceNotFound, match=r"did you mean m-Q4_K_M\.gguf\?"):
        await library(runtime, settings=settings).ensure(hub("org/many/m-q4_k_s.gguf"), Arrivals())


async def test_all_parts_of_a_model_come_with_the_first(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    parts = {f"Q8/big-{number:05}-of-00003.gguf": gguf(number, 5000) for number in (1, 2, 3)}
    origin.repositories["org/big"] = Repository(files=parts | {"small.gguf": gguf(9)})
    books, model = library(runtime, settings=settings), hub("org/big/Q8/big-00002-of-00003.gguf")
    on_disk = await books.ensure(model, Arrivals())
    assert on_disk.size_bytes == 15_000
    path = books.path_of(model)
    assert path.name == "big-00001-of-00003.gguf"
    found = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert found == {name.partition("/")[2]: content for name, content in parts.items()}
    assert (await books.ensure(hub("org/big/Q8"), Arrivals())).resolved == on_disk.resolved


async def test_a_folder_for_mlx_comes_without_what_it_does_not_need(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    wanted = {"config.json": CONFIG, "model.safetensors": b"weights" * 1000, "tokenizer.json": b"{}"}
    others = {"README.md": b"#", "model.py": b"import os", "onnx/model.onnx": b"x", ".gitattributes": b"x"}
    origin.repositories["org/mlx"] = Repository(files=wanted | others)
    books = library(runtime, form="mlx", settings=settings)
    on_disk = await books.ensure(hub("org/mlx"), Arrivals())
    folder = books.path_of(hub("org/mlx"))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == wanted
    assert on_disk.size_bytes == sum(map(len, wanted.values()))
    origin.repositories["org/mlx"].move(wanted | {"README.md": b"new words"})
    assert await books.newest(hub("org/mlx")) == on_disk.resolved
    origin.repositories["org/mlx"].move(wanted | {"tokenizer.json": b"{ }"})
    assert await books.newest(hub("org/mlx")) != on_disk.resolved


async def test_a_branch_that_moves_is_noticed_and_followed_when_asked(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    old, new, model = gguf(1), gguf(2), hub("org/one")
    repository = origin.repositories["org/one"] = Repository(files={"one.gguf": old})
    books = library(runtime, settings=settings)
    assert await books.newest(model) == sha256_of(old)
    fetched = await books.ensure(model, Arrivals())
    repository.move({"one.gguf": new})
    assert await books.newest(model) == sha256_of(new)
    assert await books.ensure(model, Arrivals()) == fetched
    newer = replace(model, source=replace(model.source, resolved=sha256_of(new)))
    older = replace(model, source=replace(model.source, resolved=sha256_of(old)))
    assert (await books.ensure(newer, Arrivals())).resolved == sha256_of(new)
    assert books.path_of(newer).read_bytes() == new
    assert books.path_of(older).read_bytes() == old
    repository.move({"one.gguf": gguf(3)})
    assert await books.remove(newer, [older]) == len(new)
    again = await books.ensure(older, Arrivals())
    assert again.resolved == sha256_of(old)
    with pytest.raises(SourceUnreachable, match="has changed at its source"):
        await books.ensure(newer, Arrivals())


async def test_a_commit_cannot_move(origin: Origin, settings: Settings, runtime: Path) -> None:
    repository = origin.repositories["org/one"] = Repository(files={"one.gguf": gguf(1)})
    pinned = hub(f"org/one@{repository.commit}")
    repository.move({"one.gguf": gguf(2)})
    books = library(runtime, settings=settings)
    assert (await books.ensure(pinned, Arrivals())).resolved == ""
    assert books.path_of(pinned).read_bytes() == gguf(1)
    assert await books.newest(pinned) == ""


async def test_a_digest_pins_the_content(origin: Origin, settings: Settings, runtime: Path) -> None:
    origin.repositories["org/one"] = Repository(files={"one.gguf": gguf(1)})
    books = library(runtime, settings=settings)
    await books.ensure(hub("org/one", sha256=sha256_of(gguf(1))), Arrivals())
    with pytest.raises(SourceCorrupt, match=sha256_of(gguf(1))):
        await books.ensure(hub("org/one", sha256="0" * 64), Arrivals())


async def test_a_token_goes_to_the_hub_and_nowhere_else(
    origin: Origin, elsewhere: Origin, settings: Settings, runtime: Path
) -> None:
    origin.elsewhere = elsewhere
    origin.repositories["org/mine"] = Repository(files={"one.gguf": gguf()}, token=TOKEN)
    with pytest.raises(SourceNotFound, match="if it is private, set `hf: "):
        await library(runtime, settings=settings).ensure(hub("org/mine"), Arrivals())
    books = library(runtime, settings=replace(settings, hf_token=TOKEN))
    await books.ensure(hub("org/mine"), Arrivals())
    assert [asked.headers.get("authorization") for asked in elsewhere.asked] == [None]
    assert origin.asked[-1].headers["authorization"] == f"Bearer {TOKEN}"


async def test_the_hub_s_own_variable_for_a_token_counts(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    origin.repositories["org/mine"] = Repository(files={"one.gguf": gguf()}, token=TOKEN)
    books = library(runtime, settings=settings, HF_TOKEN=TOKEN)
    assert (await books.ensure(hub("org/mine"), Arrivals())).resolved


async def test_a_licence_is_accepted_by_people(origin: Origin, settings: Settings, runtime: Path) -> None:
    origin.repositories["org/gated"] = Repository(files={"one.gguf": gguf()}, token=TOKEN, gated=True)
    with pytest.raises(SourceNotFound, match="accepted its licence") as caught:
        await library(runtime, settings=settings).ensure(hub("org/gated"), Arrivals())
    assert f"{origin.url}/org/gated" in caught.value.fix


@dataclass(frozen=True, kw_only=True)
class Refusal:
    where: str
    status: int
    leaf: type[EngineError]
    said: str
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Answer | None:
        if asked.path.startswith(self.where):
            return Answer(status=self.status, headers=self.headers, body=b"{}")
        return None


CODE = "X-Error-Code"
WAIT = {"Retry-After": "17"}
API, STORE = "/api", "/files"
REFUSALS = {
    "no such repository": Refusal(
        where=API, status=404, headers={CODE: "RepoNotFound"}, leaf=SourceNotFound, said="no repository"
    ),
    "no such revision": Refusal(
        where=API, status=404, headers={CODE: "RevisionNotFound"}, leaf=SourceNotFound, said="no revision"
    ),
    "too many questions": Refusal(
        where=API, status=429, headers=WAIT, leaf=SourceUnreachable, said="wait 17 s"
    ),
    "a hub in trouble": Refusal(where=API, status=503, leaf=SourceUnreachable, said="in trouble"),
    "too many downloads": Refusal(
        where=STORE, status=429, headers=WAIT, leaf=SourceUnreachable, said="wait 17 s"
    ),
    "a store in trouble": Refusal(where=STORE, status=500, leaf=SourceUnreachable, said="in trouble"),
    "a file that is gone": Refusal(where=STORE, status=404, leaf=SourceNotFound, said="there is no one.gguf"),
    "a store that refuses": Refusal(where=STORE, status=403, leaf=SourceNotFound, said="refuses to give out"),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_named_for_what_it_is(
    origin: Origin, settings: Settings, runtime: Path, refusal: Refusal
) -> None:
    origin.instead = refusal
    origin.repositories["org/one"] = Repository(files={"one.gguf": gguf()})
    with pytest.raises(EngineError, match=refusal.said) as caught:
        await library(runtime, settings=settings).ensure(hub("org/one"), Arrivals())
    assert type(caught.value) is refusal.leaf
    assert "signature" not in str(caught.value)


async def test_what_is_not_the_hub_is_told(origin: Origin, settings: Settings, runtime: Path) -> None:
    origin.instead = lambda _: Answer(headers={"Content-Type": "text/html"}, body=b"<html>log in")
    with pytest.raises(SourceUnreachable, match="not as the hub does"):
        await library(runtime, settings=settings).ensure(hub("org/one"), Arrivals())


async def test_nobody_there_is_told(runtime: Path) -> None:
    nowhere = Settings(hf_endpoint="http://127.0.0.1:9", fetch_stall_s=5.0)
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1 cannot be reached"):
        await library(runtime, settings=nowhere).ensure(hub("org/one"), Arrivals())


@pytest.mark.parametrize(
    ("offline", "variable"), [(True, ""), (False, "1")], ids=["by the settings", "by the variable"]
)
async def test_offline_nothing_is_asked(
    origin: Origin, settings: Settings, runtime: Path, *, offline: bool, variable: str
) -> None:
    books = library(runtime, settings=replace(settings, offline=offline), HF_HUB_OFFLINE=variable)
    for attempt in (books.ensure(hub("org/one"), Arrivals()), books.newest(hub("org/one"))):
        with pytest.raises(NotAllowed):
            await attempt
    assert origin.asked == []


async def test_what_the_hub_lists_wrongly_is_no_model(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    origin.repositories["org/one"] = Repository(files={"one.gguf": b"version https://git-lfs.github.com"})
    with pytest.raises(SourceCorrupt, match="Git LFS pointer"):
        await library(runtime, settings=settings).ensure(hub("org/one"), Arrivals())


async def test_a_path_that_leads_elsewhere_is_no_file(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    origin.repositories["org/one"] = Repository(files={"../../../evil.gguf": gguf()})
    with pytest.raises(SourceNotFound, match="has no model in GGUF format"):
        await library(runtime, settings=settings).ensure(hub("org/one"), Arrivals())


@pytest.mark.parametrize("lists", [True, False], ids=["listed", "in a header"])
async def test_a_digest_that_is_a_path_writes_nothing_anywhere(
    origin: Origin, settings: Settings, runtime: Path, *, lists: bool
) -> None:
    """Files are called by their digests; nobody else may choose their names."""
    evil = "../../../" + "x" * 55
    info = {"id": "org/one", "sha": "c" * 40, "siblings": [{"rfilename": "one.gguf", "size": 4}]}
    if lists:
        info["siblings"] = [{"rfilename": "one.gguf", "size": 4, "lfs": {"sha256": evil, "size": 4}}]
    body = json.dumps(info).encode()
    headers = {"ETag": f'"{evil}"', "X-Repo-Commit": "c" * 40, "Content-Length": "4"}

    def instead(asked: Asked) -> Answer:
        return Answer(body=body) if "/api/" in asked.path else Answer(headers=headers, body=b"GGUF")

    origin.instead = instead
    with pytest.raises(EngineError):
        await library(runtime / "a" / "b" / "c", settings=settings).ensure(hub("org/one"), Arrivals())
    assert not [path for path in runtime.rglob("*") if path.name.startswith("xxx")]  # noqa: ASYNC240 (a test may wait)


async def test_a_mirror_that_lists_only_names_is_asked_file_by_file(
    origin: Origin, elsewhere: Origin, settings: Settings, runtime: Path
) -> None:
    origin.elsewhere = elsewhere
    files = {"config.json": CONFIG, "model.safetensors": gguf()}
    origin.repositories["org/mlx"] = Repository(files=files)
    whole = await library(runtime / "a", form="mlx", settings=settings).ensure(hub("org/mlx"), Arrivals())
    origin.lists_digests = False
    books = library(runtime / "b", form="mlx", settings=settings)
    assert await books.ensure(hub("org/mlx"), Arrivals()) == whole
    assert {path.name: path.read_bytes() for path in books.path_of(hub("org/mlx")).iterdir()} == files
