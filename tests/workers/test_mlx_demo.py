"""The shipped models in MLX's form hold the very weights of the GGUF files, and are what their list says."""

import hashlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from orchestrator import demo
from orchestrator.workers.mlx.folder import MlxFolder, read_folder

DEMO = Path(demo.__file__).parent
NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
Array = np.ndarray[Any, np.dtype[Any]]


def name_in_mlx(name: str) -> str:
    kind = name.removesuffix(".weight")
    if kind in ("token_embd", "output_norm"):
        return {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[kind]
    _, layer, part = kind.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def interleaved(rows: Array, heads: int) -> Array:
    """The rows of one rotary scheme, halves, in the order of the other, pairs."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def tensors_of(folder: MlxFolder) -> dict[str, Array]:
    content = (folder.path / "model.safetensors").read_bytes()
    at = 8 + int.from_bytes(content[:8], "little")
    found: dict[str, Array] = {}
    for name, tensor in folder.tensors.items():
        assert tensor.dtype == "F16"
        found[name] = np.frombuffer(content, np.float16, tensor.size_bytes // 2, at).reshape(tensor.shape)
        at += tensor.size_bytes
    return found


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_both_forms_hold_the_same_weights(name: str) -> None:
    folder = read_folder(DEMO / f"{name}-mlx")
    ours = tensors_of(folder)
    heads = folder.config["num_attention_heads"]
    theirs = {tensor.name: tensor.data for tensor in gguf.GGUFReader(str(DEMO / f"{name}.gguf")).tensors}
    assert {name_in_mlx(each) for each in theirs} == set(ours)
    for each, weights in theirs.items():
        expected = ours[name_in_mlx(each)]
        if each.endswith(("attn_q.weight", "attn_k.weight")):
            expected = interleaved(expected, heads)
        assert np.array_equal(weights.reshape(expected.shape).astype(np.float16), expected), each


def test_every_shipped_file_is_listed_with_its_digest() -> None:
    lines = (line.split(maxsplit=1) for line in (DEMO / "SHA256SUMS").read_text().splitlines())
    listed = {name: digest for digest, name in lines}
    shipped = {*DEMO.glob("*-mlx/*"), *DEMO.glob("*.gguf")}
    assert set(listed) == {path.relative_to(DEMO).as_posix() for path in shipped}
    for path in shipped:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[path.relative_to(DEMO).as_posix()], (
            path
        )
