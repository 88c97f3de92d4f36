"""Quantising a folder in MLX's form with mlx's own quantiser; the process may do nothing else."""

import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.frames import FailureKind, LoadRefused
from orchestrator.workers.mlx.folder import MlxFolder, read_folder
from orchestrator.workers.mlx.model import refusal_of
from orchestrator.workers.mlx.runtime import CONVERT, UTILS
from orchestrator.workers.mlx.types import RECIPES, Recipe

# What of the source is taken over as it is: the tokenizer and how to use it.
_TAKEN: Final = ("*.json", "*.jsonl", "*.jinja", "*.txt", "*.tiktoken", "tokenizer.model")
_GROUPS: Final = (64, 32)
_OWN: Final = frozenset({"config.json", "model.safetensors.index.json"})
_TROUBLES: Final = {FailureKind.NOT_FOUND: TroubleKind.NOT_FOUND, FailureKind.CORRUPT: TroubleKind.CORRUPT}


def quantize(source: Path, target: Path, kind: str) -> None:
    """Write the model in the folder `source` to the folder `target`, its weights as `kind` says.

    Raises:
        Trouble: the type is not known, the source is no model or quantised already, or it cannot be done.
    """
    recipe = RECIPES.get(kind.lower())
    if recipe is None:
        fix = f"use one of: {', '.join(RECIPES)}"
        raise Trouble(TroubleKind.FAILED, f"mlx does not quantise to '{kind}'", fix=fix)
    try:
        folder = read_folder(source)
        _check_plain(folder)
        with contextlib.redirect_stdout(sys.stderr):  # mlx-lm says how many bits came of it
            _write(folder, target, recipe)
    except LoadRefused as refused:
        kind_of = _TROUBLES.get(refused.kind, TroubleKind.FAILED)
        raise Trouble(kind_of, str(refused)) from None


def _check_plain(folder: MlxFolder) -> None:
    if {"quantization", "quantization_config"} & folder.config.keys():
        raise Trouble(
            TroubleKind.FAILED,
            "the source is quantised already, and doing it again would lose more than its size says",
            fix="remove `quantize`, or name the source that it was made from",
        )


def _write(folder: MlxFolder, target: Path, recipe: Recipe) -> None:
    try:
        network, config = UTILS.load_model(folder.path, lazy=True)
        group = recipe.group or _group(folder)
        predicate = (
            CONVERT.mixed_quant_predicate_builder(recipe.mixed, network, group) if recipe.mixed else None
        )
        network, config = UTILS.quantize_model(
            network, config, group, recipe.bits, mode=recipe.mode, quant_predicate=predicate
        )
    except (ValueError, RuntimeError, KeyError, TypeError, ImportError, MemoryError) as error:
        raise refusal_of(folder.path, error) from error
    if not any(_is_quantised(module) for _, module in network.named_modules()):
        raise Trouble(
            TroubleKind.FAILED,
            f"no layer has a width that groups of {group} weights divide",
            fix="use it as it is",
        )
    UTILS.save_model(target, network, donate_model=True)
    UTILS.save_config(config, target / "config.json")
    for pattern in _TAKEN:
        for path in folder.path.glob(pattern):
            if path.name not in _OWN:
                shutil.copy(path, target)


def _group(folder: MlxFolder) -> int:
    width = folder.text_config.get("hidden_size")
    fitting = [group for group in _GROUPS if isinstance(width, int) and width % group == 0]
    return fitting[0] if fitting else _GROUPS[0]


def _is_quantised(module: Any) -> bool:  # noqa: ANN401 (an untyped library's)
    return hasattr(module, "scales")
