"""Which files of a repository a source means. Pure; every refusal lists what there is."""

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.fetch.order import Item
from orchestrator.workers.fetch.room import sized

_SUFFIX: Final = ".gguf"
_PART: Final = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf")
# GGUF files that lie beside models and are none.
_BESIDE: Final = ("mmproj*", "*imatrix*")
# What mlx-lm reads. Code (`*.py`) is left out: nobody has looked at it.
MLX_FILES: Final = (
    "model*.safetensors",
    "*.json",
    "*.jsonl",
    "*.jinja",
    "*.tiktoken",
    "*.txt",
    "tokenizer.model",
)
_MOST_LISTED: Final = 12


def choose(files: Sequence[Item], wanted: str, *, form: str, repository: str) -> tuple[Item, ...]:
    """Return the files that belong to the source, their paths as the engine should see them.

    Args:
        files: all of the repository, paths as they are there.
        wanted: the file, the folder, or "" for what there is.
        form: `gguf` or `mlx`.
        repository: what it is called, `org/repo`.

    Raises:
        Trouble: there is none, or it could be several.
    """
    if form == "mlx":
        return _folder(files, wanted, repository)
    models = [item for item in files if item.path.endswith(_SUFFIX)]
    if wanted.endswith(_SUFFIX):
        return _flat(_file(models, wanted, repository))
    prefix = f"{wanted}/" if wanted else ""
    inside = [item for item in models if item.path.startswith(prefix) and not _is_beside(item.path)]
    sets = {_set_of(item.path): item for item in inside}
    if len(sets) == 1:
        return _flat(_file(models, next(iter(sets.values())).path, repository))
    if not inside:
        raise _nothing(models, wanted, repository)
    written = f"hf:{repository}/FILE"
    raise Trouble(
        TroubleKind.NOT_FOUND,
        f"{repository} has {len(sets)} models in GGUF format, and the source does not say which",
        fix=f"write {written}, with one of: {_listed(inside)}",
    )


def _file(models: Sequence[Item], wanted: str, repository: str) -> list[Item]:
    """Return the file, or all parts of which it is one."""
    named = [item for item in models if item.path == wanted]
    if not named:
        raise _nothing(models, wanted, repository)
    part = _PART.fullmatch(wanted)
    if part is None:
        return named
    found = sorted((i for i in models if _set_of(i.path) == _set_of(wanted)), key=lambda item: item.path)
    if len(found) != int(part["parts"]):
        raise Trouble(
            TroubleKind.NOT_FOUND,
            f"{repository} has only {len(found)} of the {int(part['parts'])} parts of {wanted}",
            fix="name another file; this one has not been uploaded completely",
        )
    return found


def _folder(files: Sequence[Item], wanted: str, repository: str) -> tuple[Item, ...]:
    prefix = f"{wanted}/" if wanted else ""
    inside = [replace(i, path=i.path.removeprefix(prefix)) for i in files if i.path.startswith(prefix)]
    chosen = [item for item in inside if any(fnmatchcase(item.path, pattern) for pattern in MLX_FILES)]
    chosen = [item for item in chosen if "/" not in item.path]
    has_weights = any(item.path.endswith(".safetensors") for item in chosen)
    if has_weights and any(item.path == "config.json" for item in chosen):
        return tuple(chosen)
    place = f"{repository}/{wanted}" if wanted else repository
    if any(item.path.endswith(_SUFFIX) for item in inside):
        fix = "it is in GGUF format: use engine: llama-cpp"
    else:
        fix = "name a repository with config.json and model*.safetensors, such as those of mlx-community"
    raise Trouble(TroubleKind.NOT_FOUND, f"{place} is no model that MLX can load", fix=fix)


def _flat(items: Sequence[Item]) -> tuple[Item, ...]:
    """Give the files their bare names: parts of one model lie in one folder."""
    return tuple(replace(item, path=item.path.rpartition("/")[2]) for item in items)


def _nothing(models: Sequence[Item], wanted: str, repository: str) -> Trouble:
    if not models:
        return Trouble(
            TroubleKind.NOT_FOUND,
            f"{repository} has no model in GGUF format",
            fix="search the hub for the model's name with GGUF behind it, or use engine: mlx for safetensors",
        )
    if not wanted:
        return Trouble(
            TroubleKind.NOT_FOUND,
            f"{repository} has only parts of models in GGUF format",
            fix=f"write hf:{repository}/FILE if it is one of: {_listed(models)}",
        )
    names = {item.path.lower(): item.path for item in models}
    close = get_close_matches(wanted.lower(), list(names), n=1, cutoff=0.5)
    meant = f"did you mean {names[close[0]]}? " if close else ""
    return Trouble(
        TroubleKind.NOT_FOUND,
        f"{repository} has no file {wanted}",
        fix=f"{meant}There is: {_listed(models)}",
    )


def _set_of(path: str) -> str:
    """Return the name that all parts of a model share; of a single file, its own."""
    part = _PART.fullmatch(path)
    return f"{part['stem']}-of-{part['parts']}" if part else path


def _is_beside(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return any(fnmatchcase(name, pattern) for pattern in _BESIDE)


def _listed(items: Sequence[Item]) -> str:
    shown = [f"{item.path} ({sized(item.size_bytes)})" for item in items[:_MOST_LISTED]]
    more = len(items) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
