"""Quantised models as the library keeps them."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from gguf import GGUFReader, GGUFValueType, GGUFWriter

from orchestrator.engines.llama.engine import LlamaCppEngine
from orchestrator.errors import EngineError, SourceNotFound
from orchestrator.values.settings import Settings
from tests.builders import source, spec
from tests.engines.fetch.models import hub
from tests.engines.fetch.origin import Origin, Repository
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME
from tests.engines.rig import Arrivals
from tests.engines.test_llama_cpp import chat

# What happens happens in a child: one kind of event loop is enough here.
pytestmark = [REAL_TIME, pytest.mark.asyncio(loop_factories=["asyncio"])]

DEMO = Path(__file__).parent.parent.parent.parent / "orchestrator" / "demo"


async def test_a_quantised_model_answers_as_the_original_does(runtime: Path) -> None:
    books = library(runtime)
    engine = LlamaCppEngine(runtime / "run", books, threads=1)
    original, smaller = spec("full", context=128), spec("less", context=128, quantize="q8_0")
    arrivals = Arrivals()
    assert (await engine.ensure_fetched(smaller, arrivals)).size_bytes < 2 * 253_824
    assert "quantising" in {told.doing for told in arrivals.told}
    assert books.path_of(smaller).stat().st_size < 0.6 * books.path_of(original).stat().st_size
    try:
        first = await engine.ensure_loaded("r1", original)
        second = await engine.ensure_loaded("r2", smaller)
        assert await chat(first.socket, "2+2") == await chat(second.socket, "2+2")
    finally:
        await engine.close()


async def test_it_is_made_once_for_all_models_and_remembered(runtime: Path) -> None:
    models = [spec(name, quantize="q8_0") for name in ("a", "b")]
    await asyncio.gather(*(library(runtime).ensure(model, Arrivals()) for model in models))
    made = library(runtime).path_of(models[0])
    before = made.stat()
    arrivals = Arrivals()
    await library(runtime).ensure(models[1], arrivals)
    assert arrivals.told == []
    assert made.stat() == before
    assert len(list((runtime / "cache" / "quantized").glob("*.gguf"))) == 1


async def test_it_goes_with_the_last_model_that_uses_it(runtime: Path) -> None:
    books = library(runtime)
    one, same, other = (
        spec(name, quantize=kind) for name, kind in (("a", "q8_0"), ("b", "Q8_0"), ("c", "q4_0"))
    )
    for model in (one, other):
        await books.ensure(model, Arrivals())
    size_bytes = books.path_of(one).stat().st_size
    assert await books.remove(one, [same, other]) == 0
    assert await books.remove(one, [spec("plain"), other]) == size_bytes
    assert books.path_of(other).exists()
    with pytest.raises(SourceNotFound, match="has not been quantised to q8_0 yet"):
        books.path_of(one)


async def test_it_goes_though_the_file_that_it_was_made_of_is_gone_already(runtime: Path) -> None:
    path = runtime / "mine.gguf"
    shutil.copy(DEMO / "tiny.gguf", path)
    model = spec(source=source(str(path), scheme="file"), quantize="q8_0")
    await library(runtime).ensure(model, Arrivals())
    made = library(runtime).path_of(model).stat().st_size
    path.unlink()
    assert await library(runtime).remove(model, []) == made


async def test_another_file_in_the_same_place_is_quantised_anew(runtime: Path) -> None:
    path = runtime / "mine.gguf"
    shutil.copy(DEMO / "tiny.gguf", path)
    books, model = library(runtime), spec(source=source(str(path), scheme="file"), quantize="q8_0")
    await books.ensure(model, Arrivals())
    tiny = books.path_of(model)
    shutil.copy(DEMO / "small.gguf", path)
    with pytest.raises(EngineError, match="has changed since it was checked") as caught:
        books.path_of(model)
    assert not caught.value.terminal
    await books.ensure(model, Arrivals())
    assert books.path_of(model) != tiny


def in_parts(folder: Path) -> dict[str, bytes]:
    """A shipped model in parts of eight tensors."""
    whole = GGUFReader(DEMO / "tiny.gguf")
    writer = GGUFWriter(folder / "tiny.gguf", "llama", split_max_tensors=8)
    for name, field in whole.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            inner = field.types[1] if field.types[0] is GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], inner)
    for tensor in whole.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {path.name: path.read_bytes() for path in folder.glob("tiny-*.gguf")}


async def test_a_model_in_parts_loads_and_becomes_one_when_it_is_quantised(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    parts = in_parts(runtime)
    assert len(parts) == 3
    origin.repositories["org/parts"] = Repository(files=parts)
    books = library(runtime, settings=settings)
    engine = LlamaCppEngine(runtime / "run", books, threads=1)
    plain = replace(hub("org/parts"), context=128)
    smaller = replace(plain, quantize="q8_0")
    try:
        answers = []
        for replica, model in (("r0", spec(context=128)), ("r1", plain), ("r2", smaller)):
            await engine.ensure_fetched(model, Arrivals())
            answers.append(await chat((await engine.ensure_loaded(replica, model)).socket, "2+2"))
        assert len(set(answers)) == 1
    finally:
        await engine.close()


async def test_what_is_fetched_is_quantised_as_part_of_it(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    content = (DEMO / "tiny.gguf").read_bytes()
    origin.repositories["org/one"] = Repository(files={"one.gguf": content})
    books = library(runtime, settings=settings)
    plain = hub("org/one")
    model = spec(source=plain.source, quantize="q8_0")
    on_disk = await books.ensure(model, Arrivals())
    made = books.path_of(model).stat().st_size
    assert on_disk.size_bytes == len(content) + made
    assert await books.remove(model, [plain]) == made
    assert books.path_of(plain).read_bytes() == content


async def test_a_folder_is_quantised_with_mlx_s_own_means(runtime: Path) -> None:
    pytest.importorskip("mlx.core", reason="mlx is not made for this machine")
    books = library(runtime, form="mlx")
    model = spec(engine="mlx", quantize="q8")
    before = sum(path.stat().st_size for path in (DEMO / "tiny-mlx").iterdir())
    made = (await books.ensure(model, Arrivals())).size_bytes - before
    assert (books.path_of(model) / "model.safetensors").stat().st_size < made < 0.7 * before
    assert (await books.ensure(model, Arrivals())).size_bytes > made
    assert await books.remove(model, []) == made
