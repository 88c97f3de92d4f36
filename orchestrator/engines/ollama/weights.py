"""How much memory a model will take on a server, from what the server knows of it. Pure: an upper bound."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

_MIB: Final = 1 << 20
# Keys and values of half precision, Ollama's default; a smaller OLLAMA_KV_CACHE_TYPE takes less.
_CACHE_BYTES: Final = 2
# Rows that are computed at once, by the tokens of the whole context, as Ollama chooses since 2026.
_BATCHES: Final = ((4096, 512), (32_768, 1024), (sys.maxsize, 2048))
_EMBEDDING_BATCH: Final = 2048
_FLOAT_BYTES: Final = 4
# What is kept besides the tensors of the file: small tables, and what the allocator wastes.
_SPARE: Final = 1.01
# A runner without a model; with a GPU the driver's part is several hundred. Measured with 0.33 on Linux:
# 22 MB, all pages counted in full.
RUNNER_BYTES: Final = 24 * _MIB
DRIVER_BYTES: Final = 640 * _MIB
# What llama.cpp's tables take for each token of the vocabulary, and for the pairs that are merged into it.
# Measured: 165 to 185 and 140.
_TOKEN_BYTES: Final = 200
_MERGE_BYTES: Final = 140
# What choosing a token takes for each of the vocabulary, by request.
_CHOICE_BYTES: Final = 16
# llama.cpp allots caches for layers that look back a window only in steps of so many tokens.
_WINDOW_STEP: Final = 256
# What a request leaves of these layers, to go on from: 2 copies of the window were seen, a third while it is
# made, and then one more for every so many tokens.
_COPIES: Final = 3
_COPY_TOKENS: Final = 8192
# In which architectures only each nth layer sees the whole context, where the file does not say so.
_WINDOWED: Final = MappingProxyType(
    {"cohere2": 4, "exaone4": 4, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "olmo2": 4}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What has to be loaded: the bytes of the weights, and for how many tokens and requests at once.

    `embeds` where it makes vectors and no text.
    """

    weights_bytes: int
    context: int
    slots: int
    embeds: bool = False


def peak_bytes(info: Mapping[str, Any], load: Load) -> int:
    """Return an upper bound of what a runner takes, without the runner itself and what it keeps of prompts.

    Layers that keep a window of the context only count as if they kept all of it, where it is not known
    which they are.

    Args:
        info: `model_info` of /api/show: the pairs of the model file's header.
        load: what is loaded.
    """
    header = _Header(info)
    width, wide = header.number("embedding_length"), header.number("feed_forward_length")
    experts = header.number("expert_used_count") * header.number("expert_feed_forward_length", wide)
    trained = header.number("context_length")
    context = min(load.context, trained) if trained else load.context
    batch = _batch(context, load)
    vocabulary = header.number("vocab_size") or 262_144  # the largest that is in use
    heads = header.heads
    rows = 4 * width + max(3 * (wide or 4 * width), 3 * experts, 2 * heads * (header.key + header.value))
    working = batch * (_FLOAT_BYTES * rows + 2 * context * load.slots)
    merged = _MERGE_BYTES if info.get("tokenizer.ggml.model") == "gpt2" else 0
    tables = vocabulary * (_TOKEN_BYTES + merged + load.slots * _CHOICE_BYTES)
    cache = header.cache_bytes(context, batch) * load.slots
    return round(load.weights_bytes * _SPARE) + cache + working + tables


def _batch(context: int, load: Load) -> int:
    tokens = context * load.slots
    if load.embeds:
        return min(_EMBEDDING_BATCH, tokens)
    return next(rows for most, rows in _BATCHES if tokens <= most)


class _Header:
    """The numbers of an architecture."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._info = info
        self._arch = str(info.get("general.architecture", ""))
        self.heads = self.number("attention.head_count", 1)
        head = self.number("embedding_length") // max(self.heads, 1)
        self.key = self.number("attention.key_length", head)
        self.value = self.number("attention.value_length", head)

    def number(self, name: str, default: int = 0) -> int:
        """Return a number; of one for each layer the largest, which bounds them all."""
        value = self._info.get(f"{self._arch}.{name}", default)
        if isinstance(value, list):
            value = max((int(each) for each in value), default=default)
        return int(value) if isinstance(value, int | float) else default

    def cache_bytes(self, context: int, batch: int) -> int:
        """Return what the keys and values of one request take, copies of windows included."""
        layers = self.number("block_count")
        kept = self.number("attention.head_count_kv", self.heads) or self.heads
        token = kept * (self.key + self.value) * _CACHE_BYTES
        window, every = self.number("attention.sliding_window"), self._full_every()
        full = layers // every if window and every else layers
        steps = -(-(window + batch) // _WINDOW_STEP)
        copies = (_COPIES + context // _COPY_TOKENS) * min(window, context)
        windowed = min(context, steps * _WINDOW_STEP) + copies
        return token * (full * context + (layers - full) * windowed)

    def _full_every(self) -> int:
        said = self._info.get(f"{self._arch}.attention.sliding_window_pattern")
        if isinstance(said, int) and not isinstance(said, bool):
            return said
        return 0 if said is not None else _WINDOWED.get(self._arch, 0)
