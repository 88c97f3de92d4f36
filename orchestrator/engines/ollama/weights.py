"""How much memory a model will take on a server, from what the server knows of it. Pure: an upper bound."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_MIB: Final = 1 << 20
# Keys and values of half precision, Ollama's default; a smaller OLLAMA_KV_CACHE_TYPE takes less.
_CACHE_BYTES: Final = 2
# Rows that are computed at once, and their element's size: llama.cpp's own, as Ollama starts it.
_BATCH: Final = 512
_FLOAT_BYTES: Final = 4
# What is kept besides the tensors of the file: rearranged copies of some, tables. A guess.
_SPARE: Final = 1.05
# A runner without a model took 23 MB here; with a GPU the driver's part is several hundred.
RUNNER_BYTES: Final = 96 * _MIB
DRIVER_BYTES: Final = 640 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What has to be loaded: the bytes of the weights, and for how many tokens and requests at once."""

    weights_bytes: int
    context: int
    slots: int


def peak_bytes(info: Mapping[str, Any], load: Load) -> int:
    """Return an upper bound of what a runner takes, without the runner itself.

    Layers that keep a window of the context only count as if they kept all of it.

    Args:
        info: `model_info` of /api/show: the pairs of the model file's header.
        load: what is loaded.
    """
    arch = str(info.get("general.architecture", ""))

    def number(name: str, default: int = 0) -> int:
        value = info.get(f"{arch}.{name}", default)
        if isinstance(value, list):  # by layer; the largest bounds them all
            value = max((int(each) for each in value), default=default)
        return int(value) if isinstance(value, int | float) else default

    layers, width, heads = (
        number("block_count"),
        number("embedding_length"),
        number("attention.head_count", 1),
    )
    head = width // max(heads, 1)
    key, value = number("attention.key_length", head), number("attention.value_length", head)
    kept = number("attention.head_count_kv", heads) or heads
    trained = number("context_length")
    context = min(load.context, trained) if trained else load.context
    cache = layers * kept * (key + value) * _CACHE_BYTES * context * load.slots
    vocabulary = number("vocab_size") or 262_144  # the largest that is in use; headers may not say
    rows = vocabulary + 4 * number("feed_forward_length", 4 * width) + 8 * width + heads * (key + value)
    working = _BATCH * _FLOAT_BYTES * rows + _BATCH * context * load.slots * 2
    return round(load.weights_bytes * _SPARE) + cache + working
