"""A llama-architecture GGUF with random weights: says nothing sensible, costs what a real one does."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """`vocab` counts 256 bytes, the specials, and padding, which makes the last layer a large one.

    `kv_heads` 0 means as many as `heads`. A `window` other than 0 makes it a model like Gemma 3: most layers
    look back only so many tokens.
    """

    dim: int = 64
    layers: int = 2
    heads: int = 2
    ffn: int = 192
    vocab: int = 256 + len(SPECIALS)
    context: int = 1024
    kv_heads: int = 0
    window: int = 0

    @property
    def kv_dim(self) -> int:
        return self.dim // self.heads * (self.kv_heads or self.heads)


TINY = Shape()
MEMORY_BOUND = Shape(dim=1024, layers=11, heads=16, ffn=2816, vocab=8192, context=2048)  # 149M parameters


def byte_tokens() -> list[str]:
    """Return the 256 characters that stand for bytes in a GPT-2 vocabulary, in the order of the bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = {byte: chr(byte) for byte in plain}
    odd = (byte for byte in range(256) if byte not in characters)
    characters |= {byte: chr(256 + at) for at, byte in enumerate(odd)}
    return [characters[byte] for byte in range(256)]


def write(
    path: Path, shape: Shape = TINY, *, kind: str = "q8_0", seed: int = 0, architecture: str = ""
) -> None:
    """Write the file; the same arguments write the same bytes. `kind` is f32, f16 or q8_0."""
    writer = gguf.GGUFWriter(str(path), architecture or ("gemma3" if shape.window else "llama"))
    writer.add_name("random weights")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads or shape.heads)
    if shape.window:
        writer.add_key_length(shape.dim // shape.heads)
        writer.add_value_length(shape.dim // shape.heads)
        writer.add_sliding_window(shape.window)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(shape.dim // shape.heads)
    writer.add_vocab_size(shape.vocab)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_vocabulary(writer, shape.vocab)
    _add_weights(writer, shape, kind, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    padding = size - 256 - len(SPECIALS)
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*byte_tokens(), *SPECIALS, *(f"zq{at}" for at in range(padding))])
    writer.add_token_types([kinds.NORMAL] * 256 + [kinds.CONTROL] * len(SPECIALS) + [kinds.NORMAL] * padding)
    writer.add_token_merges(["Ġ Ġ"])  # the key is required, and an empty list would not be written
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    writer.add_eot_token_id(257)
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(TEMPLATE)


def _add_weights(writer: gguf.GGUFWriter, shape: Shape, kind: str, random: np.random.Generator) -> None:
    def matrix(name: str, rows: int, columns: int) -> None:
        # Large enough that the layers say more than the last token does: else it repeats for ever.
        scale = 0.02 if name.startswith("token_embd") else 0.8 / columns**0.5
        weights = random.standard_normal((rows, columns), np.float32) * np.float32(scale)
        if kind == "q8_0":
            quantised = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, weights.astype({"f16": np.float16, "f32": np.float32}[kind]))

    def ones(name: str, width: int = shape.dim) -> None:
        writer.add_tensor(name, np.ones(width, np.float32))

    matrix("token_embd.weight", shape.vocab, shape.dim)  # no output.weight: llama.cpp takes this one
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm.weight")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{block}.{name}.weight", shape.kv_dim if name[-1] in "kv" else shape.dim, shape.dim)
        if shape.window:
            ones(f"{block}.attn_q_norm.weight", shape.dim // shape.heads)
            ones(f"{block}.attn_k_norm.weight", shape.dim // shape.heads)
            ones(f"{block}.post_attention_norm.weight")
            ones(f"{block}.post_ffw_norm.weight")
        ones(f"{block}.ffn_norm.weight")
        matrix(f"{block}.ffn_gate.weight", shape.ffn, shape.dim)
        matrix(f"{block}.ffn_up.weight", shape.ffn, shape.dim)
        matrix(f"{block}.ffn_down.weight", shape.dim, shape.ffn)
    ones("output_norm.weight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--kind", choices=["f32", "f16", "q8_0"], default="q8_0")
    parser.add_argument("--small", action="store_true", help="a tiny one instead of 149M parameters")
    asked = parser.parse_args()
    write(asked.path, TINY if asked.small else MEMORY_BOUND, kind=asked.kind)
    print(f"{asked.path}: {asked.path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
