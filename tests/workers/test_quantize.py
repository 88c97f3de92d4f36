"""The process that quantises, alone: what it is told, and what it leaves."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from orchestrator.workers.fetch.products import Products
from orchestrator.workers.fetch.shelf import Shelf
from orchestrator.workers.quantize_types import QUANTIZE

DEMO = Path(__file__).parent.parent.parent / "orchestrator" / "demo"


def quantised(cache: Path, source: Path, kind: str, name: str = "made.gguf") -> dict[str, Any]:
    """Return what the process says in the end."""
    Shelf(cache).make()
    job = {"runtime": "llama-cpp", "cache": str(cache), "name": name, "source": str(source), "type": kind}
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.workers.quantize"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        said: list[dict[str, Any]] = [json.loads(line) for line in process.stdout]
        process.stdin.close()
    assert {"progress"} == {word for line in said[:-1] for word in line}
    return said[-1]


@pytest.mark.parametrize("model", ["tiny", "small"])
@pytest.mark.parametrize(("kind", "most"), [("q8_0", 0.57), ("q4_0", 0.45), ("Q4_K_M", 0.50), ("bf16", 1.02)])
def test_the_shipped_models_become_smaller(tmp_path: Path, model: str, kind: str, most: float) -> None:
    source = DEMO / f"{model}.gguf"
    answer = quantised(tmp_path, source, kind)
    size_bytes = source.stat().st_size
    assert answer["done"] == {
        "before": size_bytes,
        "after": (tmp_path / "quantized/made.gguf").stat().st_size,
    }
    assert answer["done"]["after"] < most * size_bytes
    made, original = (GGUFReader(path) for path in (tmp_path / "quantized/made.gguf", source))
    assert sorted(t.name for t in made.tensors) == sorted(t.name for t in original.tensors)
    assert Products(Shelf(tmp_path)).is_whole("made.gguf")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_every_type_that_is_offered_is_one_that_llama_cpp_makes(tmp_path: Path) -> None:
    for kind in QUANTIZE:
        assert "done" in quantised(tmp_path, DEMO / "tiny.gguf", kind, f"{kind}.gguf"), kind


def test_what_is_quantised_already_is_not_quantised_again(tmp_path: Path) -> None:
    quantised(tmp_path, DEMO / "tiny.gguf", "q8_0")
    failed = quantised(tmp_path, tmp_path / "quantized/made.gguf", "q4_0", "twice.gguf")["failed"]
    assert failed["kind"] == "not_found"
    assert "quantised already (q8_0)" in failed["what"]
    assert not (tmp_path / "quantized/twice.gguf").exists()


def test_what_is_no_model_has_llama_cpp_s_own_cause(tmp_path: Path) -> None:
    noise = tmp_path / "noise.gguf"
    noise.write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(range(256)))
    failed = quantised(tmp_path, noise, "q8_0")["failed"]
    assert failed["kind"] == "failed"
    assert "quantiser failed" in failed["what"]


def test_an_unknown_type_lists_those_that_are_known(tmp_path: Path) -> None:
    failed = quantised(tmp_path, DEMO / "tiny.gguf", "q99")["failed"]
    assert "q8_0, q6_K" in failed["fix"]


def test_what_an_earlier_attempt_has_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/made.gguf").write_bytes(b"half a model")
    assert "done" in quantised(tmp_path, DEMO / "tiny.gguf", "q8_0")


def test_a_product_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    quantised(tmp_path, DEMO / "tiny.gguf", "q8_0")
    made = tmp_path / "quantized/made.gguf"
    good = made.read_bytes()
    made.chmod(0o600)
    made.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    quantised(tmp_path, DEMO / "tiny.gguf", "q8_0")
    assert made.read_bytes() == good
