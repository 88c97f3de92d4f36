"""What a command's server calls its model."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model in a server's list: what it calls it, and what it has loaded for it, "" where not told."""

    id: str
    root: str = ""


def names_for(model: str, listed: Sequence[Entry]) -> tuple[str, ...]:
    """Return what the server may call the model, best first.

    Its list settles it where it names what `{model}` stands for. Else that
    text itself is tried first, as most servers take any name, and then the
    only entry there is: vLLM under `--served-model-name` takes no other. Not
    the other way round: mlx_lm.server lists models that it would have to load.
    """
    for entry in listed:
        if model in {entry.id, entry.root}:
            return (entry.id,)
    return (model, listed[0].id) if len(listed) == 1 else (model,)
