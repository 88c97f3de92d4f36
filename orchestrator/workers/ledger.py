"""What a dry run of llama.cpp says of memory, by pool. Pure: lines of its log in, bytes out.

In a dry run the lines of single buffers of weights and cells say 0; what they would hold follows from their
sums, which are told, and from the layers that each device gets.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

RAM: Final = "ram"
_MIB: Final = 1 << 20
# Figures in the log have two decimals: so much may be lost by rounding, in bytes.
_ROUNDED: Final = 0.005 * _MIB

_CUDA: Final = re.compile(r"CUDA(\d+)")
_BUFFER: Final = re.compile(r":\s+(\S+)\s+(?:output|compute) buffer size\s*=\s*([\d.]+) MiB")
_COMPUTE: Final = re.compile(r":\s+(\S+)\s+compute buffer size\s*=\s*([\d.]+) MiB")
_LAYER: Final = re.compile(r"^load_tensors: layer\s+(\d+) assigned to device (\S+?),")
_CELLS_OF_LAYER: Final = re.compile(r"^llama_\w+[:,] layer\s+\d+: dev = (\S+)")
_CELLS: Final = re.compile(r"^llama_\w+: (?:.*[ ,])?size =\s*([\d.]+) MiB(?: \(|$)")
_BLOCK: Final = re.compile(r"^blk\.(\d+)\.")
_INPUT: Final = ("token_embd", "position_embd", "token_types", "per_layer_token_embd")


def pool_of(device: str) -> str:
    """Return the pool of a device or of one of its kinds of buffers; what shares the RAM is the RAM."""
    found = _CUDA.fullmatch(device)
    return f"cuda:{found[1]}" if found else RAM


def contexts(lines: Iterable[str]) -> dict[str, int]:
    """Return what the contexts take: cells, states, buffers for computing and for what comes out."""
    taken: dict[str, float] = {}
    layers: Counter[str] = Counter()

    def take(pool: str, mib: float, part: float = 1.0) -> None:
        taken[pool] = taken.get(pool, 0.0) + (mib * _MIB + _ROUNDED) * part

    for line in lines:
        if found := _BUFFER.search(line):
            take(pool_of(found[1]), float(found[2]))
        elif found := _CELLS_OF_LAYER.search(line):
            layers[pool_of(found[1])] += 1
        elif found := _CELLS.search(line):
            for pool, count in (layers or Counter([RAM])).items():
                take(pool, float(found[1]), count / max(layers.total(), 1))
            layers.clear()
    return {pool: round(size) for pool, size in taken.items()}


def reserved(lines: Iterable[str]) -> int:
    """Return the bytes of RAM that are set aside for computing, and only taken when a long prompt comes."""
    found = (_COMPUTE.search(line) for line in lines)
    return sum(round(float(each[2]) * _MIB) for each in found if each and pool_of(each[1]) == RAM)


def weights(lines: Iterable[str], sizes: Mapping[str, int]) -> dict[str, int]:
    """Return where the weights lie.

    The table of tokens stays in the RAM, also where every layer is on a GPU; a file without a last layer uses
    that table twice, and then it lies in both.

    Args:
        lines: of the log.
        sizes: the bytes of each tensor by its name.
    """
    devices = {int(found[1]): pool_of(found[2]) for line in lines if (found := _LAYER.search(line))}
    last = devices.get(max(devices, default=0), RAM)
    taken: dict[str, int] = {}
    for name, size in sizes.items():
        block = _BLOCK.match(name)
        pool = devices.get(int(block[1]), RAM) if block else RAM if name.startswith(_INPUT) else last
        taken[pool] = taken.get(pool, 0) + size
    if last != RAM and not any(name.startswith("output.") for name in sizes):
        taken[last] = taken.get(last, 0) + sizes.get("token_embd.weight", 0)
    return taken
