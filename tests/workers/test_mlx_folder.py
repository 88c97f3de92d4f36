"""What a folder says of its model before mlx is imported; and what its tokens stand for."""

import json
import shutil
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from benchmarks.random_gguf import Shape
from benchmarks.random_mlx import write
from orchestrator import demo
from orchestrator.workers.frames import FailureKind, LoadRefused
from orchestrator.workers.mlx.folder import read_folder
from orchestrator.workers.mlx.memory import MIB, kv_bytes, peak_bytes, slot_bytes
from orchestrator.workers.mlx.pieces import pieces_of

DEMO = Path(demo.__file__).parent


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO / "small-mlx", tmp_path / "small"))


def test_a_shipped_folder_is_read(small: Path) -> None:
    folder = read_folder(small)
    assert folder.config["model_type"] == "llama"
    assert folder.weights_bytes == 936_576
    assert folder.tensors["model.norm.weight"].shape == (96,)
    assert folder.train_context == 1024


def refusal(path: Path) -> LoadRefused:
    with pytest.raises(LoadRefused) as caught:
        read_folder(path)
    return caught.value


def test_a_folder_that_is_not_there_or_a_file_is_not_found(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing").kind is FailureKind.NOT_FOUND
    found = refusal(DEMO / "small.gguf")
    assert found.kind is FailureKind.NOT_FOUND
    assert "is a file" in str(found)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", b"{", "not valid JSON"),
        ("config.json", b"[]", "names no model_type"),
        ("config.json", b'{"model_type": 3}', "names no model_type"),
        ("model.safetensors", None, "has no weights"),
        ("model.safetensors", b"", "cut short"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1", "cut short"),
        ("model.safetensors", struct.pack("<Q", 4) + b"oops", "header that cannot be read"),
        ("model.safetensors", struct.pack("<Q", 2) + b"[]", "header that cannot be read"),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": "model-00002-of-00002.safetensors"}}',
            "lacks model-00002-of-00002.safetensors",
        ),
        ("model.safetensors.index.json", b"{}", "cannot be understood"),
    ],
)
def test_what_is_broken_is_named(small: Path, name: str, content: bytes | None, said: str) -> None:
    if content is None:
        (small / name).unlink()
    else:
        (small / name).write_bytes(content)
    found = refusal(small)
    assert found.kind is FailureKind.CORRUPT
    assert said in str(found)


@pytest.mark.parametrize("change", [-1, 1])
def test_weights_that_are_longer_or_shorter_than_their_header_says_are_refused(
    small: Path, change: int
) -> None:
    weights = small / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:change] if change < 0 else content + b"\0" * change)
    assert refusal(small).kind is FailureKind.CORRUPT


def test_keys_and_values_count_every_layer_head_and_byte(tmp_path: Path) -> None:
    shape = Shape(dim=64, layers=3, heads=2, ffn=64)
    for kind, size in (("float16", 2), ("float32", 4)):
        write(tmp_path / kind, shape, kind=kind)
        folder = read_folder(tmp_path / kind)
        assert kv_bytes(folder, 100) == 2 * 3 * 64 * size * 100
        assert slot_bytes(folder, 100) > kv_bytes(folder, 100)


def changed(small: Path, **changes: Any) -> Path:  # noqa: ANN401 (JSON)
    path = small / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return small


def test_the_configuration_of_the_text_part_counts(small: Path) -> None:
    plain = kv_bytes(read_folder(small), 1)
    inner = {"num_hidden_layers": 8, "vocab_size": 9}
    folder = read_folder(changed(small, text_config=inner))
    assert kv_bytes(folder, 1) == 2 * plain


def test_compressed_keys_count_as_if_they_were_not(small: Path) -> None:
    mla = {"kv_lora_rank": 8, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32}
    assert kv_bytes(read_folder(changed(small, **mla)), 1) == 4 * 3 * (32 + 16 + 32) * 2


BYTE_LEVEL = {"type": "Sequence", "decoders": [{"type": "ByteLevel"}]}
SENTENCE_PIECE = {"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "ByteFallback"}]}


def test_pieces_of_a_byte_level_vocabulary() -> None:
    tokens = ["a", "Ġthe", "Ċ", "Ã", "<|end|>", "<think>", None]
    pieces = pieces_of(tokens, BYTE_LEVEL, {4: True, 5: False})
    assert pieces == [b"a", b" the", b"\n", b"\xc3", b"", b"<think>", b""]


def test_pieces_of_a_sentence_piece_vocabulary() -> None:
    tokens = ["▁the", "<0xE2>", "é", "<s>"]
    assert pieces_of(tokens, SENTENCE_PIECE, {3: True}) == [b" the", b"\xe2", "é".encode(), b""]
    assert pieces_of(["▁a"], None, {}) == [b" a"]


def test_the_peak_grows_with_what_is_asked_for(small: Path) -> None:
    folder = read_folder(small)
    plain = peak_bytes(folder, context=512, parallel=2)
    assert plain > folder.weights_bytes + 3 * kv_bytes(folder, 512)
    assert peak_bytes(folder, context=1024, parallel=2) >= plain + 3 * kv_bytes(folder, 512)
    assert peak_bytes(folder, context=512, parallel=3) >= plain + kv_bytes(folder, 512)
    assert peak_bytes(folder, context=512, parallel=2, forms=True) > plain + 10 * MIB


def test_reading_a_large_vocabulary_can_be_the_peak(small: Path) -> None:
    plain = peak_bytes(read_folder(small), context=128, parallel=1)
    (small / "tokenizer.json").write_bytes(bytes(10 * MIB))
    assert peak_bytes(read_folder(small), context=128, parallel=1) > plain + 200 * MIB


def test_absurd_sizes_are_not_read(small: Path) -> None:
    weights, index = small / "model.safetensors", small / "model.safetensors.index.json"
    with weights.open("wb") as file:
        file.write(struct.pack("<Q", 1 << 30))
        file.truncate(2 << 30)  # takes no room on the disk
    tracemalloc.start()
    try:
        assert refusal(small).kind is FailureKind.CORRUPT
        with index.open("wb") as file:
            file.truncate(2 << 30)
        assert "has over 32 MiB" in str(refusal(small))
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", ["[1e999]", "[[[[]]]]", '"x"', "[" * 100_000])
def test_shapes_that_make_no_sense_are_refused(small: Path, shape: str) -> None:
    header = b'{"a":{"dtype":"F16","shape":%b,"data_offsets":[0,0]}}' % shape.encode()
    (small / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert refusal(small).kind is FailureKind.CORRUPT
