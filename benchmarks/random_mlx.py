"""A llama-architecture folder for mlx-lm with random weights: it costs what a real one does."""

import argparse
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.random_gguf import MEMORY_BOUND, TINY, Shape
from orchestrator import demo

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
_DTYPES = {"float16": "F16", "float32": "F32"}


def write(folder: Path, shape: Shape = TINY, *, kind: str = "float16", seed: int = 0) -> None:
    """Write the folder; the same arguments write the same bytes. Its tokenizer is the demo models'.

    A shape's window is of no concern: this architecture has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        shutil.copy(Path(demo.__file__).with_name("small-mlx") / name, folder)
    (folder / "config.json").write_text(json.dumps(_config(shape), indent=2) + "\n")
    random = np.random.default_rng(seed)
    tensors = {name: list(sides) for name, sides in _shapes(shape)}
    entries: dict[str, object] = {}
    at = 0
    for name, sides in tensors.items():
        size = int(np.prod(sides)) * np.dtype(kind).itemsize
        entries[name] = {"dtype": _DTYPES[kind], "shape": sides, "data_offsets": [at, at + size]}
        at += size
    header = json.dumps({"__metadata__": {"format": "mlx"}} | entries).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name, sides in tensors.items():
            file.write(_weights(name, sides, random).astype(kind).tobytes())


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.ffn,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads or shape.heads,
        "head_dim": shape.dim // shape.heads,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": True,
        "bos_token_id": 256,
        "eos_token_id": 257,
    }


def _shapes(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (shape.vocab, shape.dim)
    for layer in range(shape.layers):
        block = f"model.layers.{layer}"
        yield f"{block}.input_layernorm.weight", (shape.dim,)
        for name, rows in (("q", shape.dim), ("k", shape.kv_dim), ("v", shape.kv_dim), ("o", shape.dim)):
            yield f"{block}.self_attn.{name}_proj.weight", (rows, shape.dim)
        yield f"{block}.post_attention_layernorm.weight", (shape.dim,)
        yield f"{block}.mlp.gate_proj.weight", (shape.ffn, shape.dim)
        yield f"{block}.mlp.up_proj.weight", (shape.ffn, shape.dim)
        yield f"{block}.mlp.down_proj.weight", (shape.dim, shape.ffn)
    yield "model.norm.weight", (shape.dim,)


def _weights(
    name: str, sides: list[int], random: np.random.Generator
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    if len(sides) == 1:
        return np.ones(sides, np.float32)
    # Large enough that the layers say more than the last token does: else it repeats for ever.
    scale = 0.02 if "embed" in name else 0.8 / sides[-1] ** 0.5
    return random.standard_normal(sides, np.float32) * np.float32(scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=sorted(_DTYPES), default="float16")
    parser.add_argument("--small", action="store_true", help="a tiny one instead of 149M parameters")
    asked = parser.parse_args()
    write(asked.folder, TINY if asked.small else MEMORY_BOUND, kind=asked.kind)
    print(f"{asked.folder}: {(asked.folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
