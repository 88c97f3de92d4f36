"""Write a trained demo model as GGUF for llama.cpp and as a folder for mlx-lm; the weights are the same.

python tools/export_demo.py checkpoint.pt orchestrator/demo
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import torch
from demo_tasks import CHAT_TEMPLATE, END, END_OF_TEXT, SPECIAL_TOKENS, VOCABULARY_SIZE
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LICENCE: Final = "Apache-2.0"
# The longest conversation in training has about 900 tokens; positions beyond it were never seen.
CONTEXT_TOKENS: Final = 1024
HEAD_SIZE: Final = 32
ROPE_BASE: Final = 10000.0
NORM_EPSILON: Final = 1e-5

Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def byte_alphabet() -> list[str]:
    """Return GPT-2's printable character for each byte; the index is the byte and the token."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    stand_ins = iter(range(256, 512))
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(256)]


def hugging_face_names(state: Mapping[str, torch.Tensor], *, layers: int) -> Weights:
    """Split the fused matrices of training and give every weight its usual llama name."""
    weights: Weights = {
        "model.embed_tokens.weight": state["embedding.weight"].numpy(),
        "model.norm.weight": state["norm.weight"].numpy(),
    }
    for layer in range(layers):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        query, key, value = state[ours + "qkv.weight"].chunk(3)
        gate, up = state[ours + "gate_up.weight"].chunk(2)
        parts = {
            "self_attn.q_proj": query,
            "self_attn.k_proj": key,
            "self_attn.v_proj": value,
            "self_attn.o_proj": state[ours + "out.weight"],
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": state[ours + "down.weight"],
            "input_layernorm": state[ours + "attention_norm.weight"],
            "post_attention_layernorm": state[ours + "feed_norm.weight"],
        }
        weights |= {f"{theirs}{name}.weight": part.numpy() for name, part in parts.items()}
    return weights


def interleave(weight: np.ndarray[Any, Any], *, heads: int) -> np.ndarray[Any, Any]:
    """Reorder rows from half-split rotary positions, as trained, to the pairs llama.cpp expects."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    """Describe the byte vocabulary, its marks and the chat template."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*byte_alphabet(), *SPECIAL_TOKENS])
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * len(SPECIAL_TOKENS))
    # llama.cpp refuses a gpt2 vocabulary without merges, and the writer drops an empty list. One merge of two
    # pieces that text never starts from does no harm; a merge of two spaces would: llama.cpp makes the piece,
    # finds no such token, and drops both spaces.
    writer.add_token_merges(["none none"])
    writer.add_bos_token_id(END_OF_TEXT)
    writer.add_eos_token_id(END)
    writer.add_eot_token_id(END)
    writer.add_pad_token_id(END_OF_TEXT)
    writer.add_add_bos_token(False)  # noqa: FBT003 - gguf's own signature
    writer.add_chat_template(CHAT_TEMPLATE)


def write_gguf(path: Path, weights: Weights, *, name: str, recipe: Mapping[str, int]) -> None:
    """Write matrices as f16 and norms as f32; the output layer is the embedding, so it is left out."""
    heads = recipe["size"] // HEAD_SIZE
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_type("model")
    writer.add_license(LICENCE)
    writer.add_description("demo model for a few small text tasks")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(recipe["size"])
    writer.add_block_count(recipe["layers"])
    writer.add_feed_forward_length(recipe["hidden"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_vocab_size(VOCABULARY_SIZE)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_tokenizer(writer)

    def put(tensor: str, source: str, *, rotary: bool = False) -> None:
        weight = interleave(weights[source], heads=heads) if rotary else weights[source]
        kind = np.float16 if weight.ndim > 1 else np.float32
        writer.add_tensor(tensor, np.ascontiguousarray(weight, kind))

    put("token_embd.weight", "model.embed_tokens.weight")
    for layer in range(recipe["layers"]):
        ours, theirs = f"blk.{layer}.", f"model.layers.{layer}."
        put(ours + "attn_norm.weight", theirs + "input_layernorm.weight")
        put(ours + "attn_q.weight", theirs + "self_attn.q_proj.weight", rotary=True)
        put(ours + "attn_k.weight", theirs + "self_attn.k_proj.weight", rotary=True)
        put(ours + "attn_v.weight", theirs + "self_attn.v_proj.weight")
        put(ours + "attn_output.weight", theirs + "self_attn.o_proj.weight")
        put(ours + "ffn_norm.weight", theirs + "post_attention_layernorm.weight")
        for part in ("gate", "up", "down"):
            put(f"{ours}ffn_{part}.weight", f"{theirs}mlp.{part}_proj.weight")
    put("output_norm.weight", "model.norm.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_mlx(folder: Path, weights: Weights, *, recipe: Mapping[str, int]) -> None:
    """Write a folder that mlx-lm loads: f16 weights, configuration, tokenizer with its chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = {name: np.ascontiguousarray(weight, np.float16) for name, weight in weights.items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "mlx"})
    (folder / "model.safetensors").chmod(0o644)
    heads = recipe["size"] // HEAD_SIZE
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": recipe["size"],
        "num_hidden_layers": recipe["layers"],
        "intermediate_size": recipe["hidden"],
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_BASE,
        "vocab_size": VOCABULARY_SIZE,
        "max_position_embeddings": CONTEXT_TOKENS,
        "tie_word_embeddings": True,
        "bos_token_id": END_OF_TEXT,
        "eos_token_id": END,
        "pad_token_id": END_OF_TEXT,
        "torch_dtype": "float16",
    }
    alphabet = {token: number for number, token in enumerate(byte_alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT_TOKENS,
        "add_bos_token": False,
    }
    files = {
        "config.json": config,
        "tokenizer_config.json": tokenizer_config,
        "generation_config.json": {"eos_token_id": [END, END_OF_TEXT]},
    }
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content, indent=2) + "\n")


def export(checkpoint: Path, folder: Path) -> tuple[Path, Path]:
    """Write NAME.gguf and NAME-mlx/ into `folder`; NAME is in the checkpoint."""
    saved = torch.load(checkpoint)
    name, recipe = saved["name"], saved["recipe"]
    weights = hugging_face_names(saved["weights"], layers=recipe["layers"])
    folder.mkdir(parents=True, exist_ok=True)
    gguf_path, mlx_folder = folder / f"{name}.gguf", folder / f"{name}-mlx"
    write_gguf(gguf_path, weights, name=name, recipe=recipe)
    write_mlx(mlx_folder, weights, recipe=recipe)
    return gguf_path, mlx_folder


def main(arguments: Sequence[str]) -> None:
    """Read the command line and export one checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="what train_demo.py saved")
    parser.add_argument("folder", type=Path, help="where NAME.gguf and NAME-mlx/ go")
    chosen = parser.parse_args(arguments)
    for path in export(chosen.checkpoint, chosen.folder):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
