"""Quantising the shipped models with mlx's own quantiser, and what comes of it."""

import json
from pathlib import Path

import pytest

pytest.importorskip("mlx.core", reason="mlx is not made for this machine")

from orchestrator import demo
from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.mlx.folder import read_folder
from orchestrator.workers.mlx.model import MlxModel
from orchestrator.workers.mlx.quantize import quantize
from orchestrator.workers.mlx.runtime import GENERATE
from orchestrator.workers.mlx.types import RECIPES

DEMO = Path(demo.__file__).parent
SMALL = DEMO / "small-mlx"
QUESTIONS = [f"Count {number} to {number + 7}" for number in range(20, 30)]


def answers(path: Path) -> list[str]:
    model = MlxModel(path)
    prompts = [model.tokenize(f"<|user|>{said}<|end|><|assistant|>", add_bos=False) for said in QUESTIONS]
    generator = GENERATE.BatchGenerator(model.network, stop_tokens=[[token] for token in model.ending_tokens])
    numbers = generator.insert(prompts, max_tokens=[60] * len(prompts))
    texts = dict.fromkeys(numbers, b"")
    while any(found := generator.next()):
        for response in found[1]:
            texts[response.uid] += model.piece(response.token) or b""
    return [text.decode() for text in texts.values()]


def test_eight_bits_are_half_the_size_and_say_the_same(tmp_path: Path) -> None:
    quantize(SMALL, tmp_path / "q8", "q8_0")
    before, after = read_folder(SMALL), read_folder(tmp_path / "q8")
    assert after.weights_bytes < 0.6 * before.weights_bytes
    assert after.config["quantization"]["bits"] == 8
    kept = {path.name for path in SMALL.iterdir()} - {"config.json", "model.safetensors"}
    assert all((tmp_path / "q8" / name).read_bytes() == (SMALL / name).read_bytes() for name in kept)
    expected, found = answers(SMALL), answers(tmp_path / "q8")
    assert sum(one == other for one, other in zip(expected, found, strict=True)) >= len(QUESTIONS) - 1


@pytest.mark.parametrize("kind", sorted(RECIPES))
def test_every_recipe_makes_a_folder_that_loads(tmp_path: Path, kind: str) -> None:
    quantize(DEMO / "tiny-mlx", tmp_path / "made", kind)
    made = MlxModel(tmp_path / "made")
    assert made.n_parameters == 123_520
    assert made.size_bytes < read_folder(DEMO / "tiny-mlx").weights_bytes


def trouble(source: Path, target: Path, kind: str) -> Trouble:
    with pytest.raises(Trouble) as caught:
        quantize(source, target, kind)
    return caught.value


def test_a_type_of_another_engine_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    found = trouble(SMALL, tmp_path / "made", "q4_K_M")
    assert "q4_K_M" in found.what
    assert "mixed_4_6" in found.fix


def test_what_is_quantised_is_not_quantised_again(tmp_path: Path) -> None:
    quantize(SMALL, tmp_path / "once", "q8")
    assert "already" in trouble(tmp_path / "once", tmp_path / "twice", "q4").what


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    assert trouble(tmp_path / "nothing", tmp_path / "made", "q8").kind is TroubleKind.NOT_FOUND
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text(json.dumps({"model_type": "quark"}))
    assert trouble(tmp_path / "odd", tmp_path / "made", "q8").kind is TroubleKind.CORRUPT
    for file in SMALL.iterdir():
        (tmp_path / "odd" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "odd" / "config.json").write_text(json.dumps({"model_type": "quark"}))
    assert "quark not supported" in trouble(tmp_path / "odd", tmp_path / "made", "q8").what
