"""How much memory mlx-lm takes for a model, from what its folder says; without mlx.

The worker keeps to these figures (its cache of buffers and of prompts), so that the parent can count on them.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.workers.mlx.folder import MlxFolder

MIB: Final = 1 << 20
# Tokens of prompts that one step takes, over all requests, and how many requests share them. A CPU reads them
# no faster in longer steps, which take more memory.
STEP_TOKENS: Final = 512 if sys.platform == "darwin" else 128
PROMPTS_AT_ONCE: Final = 4
# A KV cache grows by so many tokens at a time, and is filled up to the longest one of a batch. A quarter of
# mlx-lm's own choice: what is saved is more than what moving the caches more often costs.
GROWTH_TOKENS: Final = 64
# What llama.cpp's grammars take: the library, the vocabulary by token, and each request by token of it.
# Measured with a vocabulary of 150,000: 57 MB, and 64 MB for four requests.
_FORM_BYTES: Final = 16 * MIB
_FORM_TOKEN_BYTES: Final = 400
_FORM_REQUEST_TOKEN_BYTES: Final = 120
# A worker without a model: Python, mlx, mlx-lm and what that imports. 92 MB were measured on Linux, all pages
# counted in full. With Metal a guess.
BASE_BYTES: Final = (256 if sys.platform == "darwin" else 92) * MIB
# What the allocator's own gaps add to what moves. Measured: 1 to 4 of a hundred.
_GAPS: Final = 1.05
# How many bytes a byte of tokenizer.json takes: once it is read, and while transformers reads it. Measured
# with a vocabulary of 150,000 tokens (6 MB): 9 and 34.
_VOCABULARY_STAYS: Final = 10
_VOCABULARY_READS: Final = 38
# What mlx may keep of the buffers that it has freed. On a CPU, where making one costs little, a little: no
# difference in speed was measured to 32 MB. With Metal, where it costs more, a guess.
BUFFERS_BYTES: Final = (256 if sys.platform == "darwin" else 4) * MIB


def kv_bytes(folder: MlxFolder, tokens: int) -> int:
    """Return what the keys and values of so many tokens take at most.

    Each layer counts with all tokens: layers with a sliding window take less. Where keys and values are
    kept compressed (MLA) they count as if they were not.
    """
    config = folder.text_config
    layers = _number(config, "num_hidden_layers", "n_layers", "n_layer", "num_layers")
    heads = _number(config, "num_attention_heads", "n_heads", "n_head", "num_heads")
    kv_heads = _number(config, "num_key_value_heads", "n_kv_heads", default=heads)
    width = _number(config, "hidden_size", "d_model", "dim", "n_embd", "model_dim")
    head = _number(config, "head_dim", default=-(-width // max(heads, 1)))
    key = value = head
    if "kv_lora_rank" in config:
        kv_heads = heads
        key = _number(config, "qk_nope_head_dim") + _number(config, "qk_rope_head_dim")
        value = _number(config, "v_head_dim")
    return layers * kv_heads * (key + value) * tokens * element_bytes(folder)


def slot_bytes(folder: MlxFolder, context: int) -> int:
    """Return what the keys and values of one request with a full context take at most."""
    return kv_bytes(folder, context + GROWTH_TOKENS)


def element_bytes(folder: MlxFolder) -> int:
    """Return the size of an activation: 4 where any part of the weights is float32, which spreads; else 2."""
    return 4 if any(tensor.dtype == "F32" for tensor in folder.tensors.values()) else 2


def work_bytes(folder: MlxFolder, *, context: int, parallel: int) -> int:
    """Return what the steps themselves take at most, besides weights and caches.

    A step's widest moment is one layer: the activations of the feed-forward part, or the scores of attention
    (every token of the step against the whole context, in float32 and twice, where the kernel does not
    avoid them), and what a layer's cache leaves behind when it is moved.
    """
    config = folder.text_config
    width = _number(config, "hidden_size", "d_model", "dim", "n_embd", "model_dim")
    wide = _number(config, "intermediate_size", "ffn_dim", "n_inner", default=4 * width)
    heads = _number(config, "num_attention_heads", "n_heads", "n_head", "num_heads")
    vocabulary = _number(config, "vocab_size")
    size = element_bytes(folder)
    tokens = min(STEP_TOKENS, parallel * context)
    forward = tokens * (3 * wide + 6 * width) * size
    scores = 0 if sys.platform == "darwin" else 2 * tokens * heads * context * 4
    choice = 6 * parallel * vocabulary * 4
    layers = max(_number(config, "num_hidden_layers", "n_layers", "n_layer", "num_layers"), 1)
    moved = 2 * parallel * slot_bytes(folder, context) // layers
    return max(forward, scores) + choice + moved


def _number(config: Mapping[str, Any], *names: str, default: int = 0) -> int:
    """Return the first of some fields that holds a number; a list's largest."""
    for name in names:
        found = config.get(name)
        if isinstance(found, list) and found and all(isinstance(each, int) for each in found):
            return int(max(found))
        if isinstance(found, int) and not isinstance(found, bool):
            return found
    return default


def moving_bytes(folder: MlxFolder, *, context: int, parallel: int, forms: bool = False) -> int:
    """Return an upper bound of what a loaded worker comes to take besides, once all its places are filled.

    That is to the end of the context, with as much kept for later as one more of them. `forms` says that
    answers will be held to schemas.
    """
    moving = (
        parallel * slot_bytes(folder, context)
        + kv_bytes(folder, context)
        + work_bytes(folder, context=context, parallel=parallel)
        + BUFFERS_BYTES
    )
    if forms:
        tokens = _number(folder.text_config, "vocab_size")
        moving += _FORM_BYTES + tokens * (_FORM_TOKEN_BYTES + parallel * _FORM_REQUEST_TOKEN_BYTES)
    return round(moving * _GAPS)


def peak_bytes(folder: MlxFolder, *, context: int, parallel: int, forms: bool = False) -> int:
    """Return an upper bound of what a worker comes to take, from its start to its last request.

    Either reading the vocabulary is its widest moment, or all places are filled: see moving_bytes.
    """
    vocabulary = _size(folder, "tokenizer.json") + _size(folder, "tokenizer.model")
    moving = moving_bytes(folder, context=context, parallel=parallel, forms=forms)
    serving = BASE_BYTES + _VOCABULARY_STAYS * vocabulary + folder.weights_bytes + moving
    return max(serving, BASE_BYTES + _VOCABULARY_READS * vocabulary)


def _size(folder: MlxFolder, name: str) -> int:
    path = folder.path / name
    return path.stat().st_size if path.exists() else 0
