"""Quantising GGUF files with llama.cpp's own quantiser; the process may do nothing else."""

import ctypes
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.fetch.room import FIX, check_room
from orchestrator.workers.frames import LoadRefused
from orchestrator.workers.llama_cpp import LOG, C, Model
from orchestrator.workers.quantize_types import QUANTIZE

_MIB: Final = 1 << 20
_STEP: Final = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
_SIZE: Final = re.compile(r"quant size\s*=\s*([0-9.]+) MiB")
_FAILED: Final = re.compile(r"failed to quantize: (.*)")
_REQUANTISED: Final = re.compile(r"requantizing from type (\S+) is disabled")


class _Ear:
    """Hears llama.cpp's log: where it is, what it will come to, and why it failed."""

    def __init__(self, step: Callable[[int, int], None]) -> None:
        self.size_bytes = 0
        self.cause = ""
        self._step = step

    def __call__(self, level: int, text: bytes, data: object) -> None:
        line = text.decode(errors="replace")
        if found := _STEP.search(line):
            self._step(int(found[1]), int(found[2]))
        elif found := _SIZE.search(line):
            self.size_bytes = int(float(found[1]) * _MIB) + 1
        elif found := _FAILED.search(line):
            self.cause = found[1].strip()
        LOG(level, text, data)


def quantize(source: Path, target: Path, kind: str, step: Callable[[int, int], None]) -> None:
    """Write the model at `source` to `target` with weights of type `kind`; one of several parts becomes one.

    `step` is told the number of the tensor, and how many there are.

    Raises:
        Trouble: the type is not known, the source is quantised already, or there is no room.
    """
    C.llama_backend_init()
    planned = _run(source, target, kind, lambda _done, _all: None, dry=True)
    check_room(target.parent, planned)
    _run(source, target, kind, step, dry=False)
    try:
        made = Model(target, dry=True)
    except LoadRefused as refused:
        raise Trouble(
            TroubleKind.FAILED, f"what llama.cpp's quantiser has written does not load: {refused}"
        ) from None
    if not made.n_parameters:
        raise Trouble(TroubleKind.FAILED, "what llama.cpp's quantiser has written has no weights")


def _run(source: Path, target: Path, kind: str, step: Callable[[int, int], None], *, dry: bool) -> int:
    """Quantise, or only say what it would come to; return the size of the result's weights in bytes."""
    params = C.llama_model_quantize_default_params()
    params.ftype = _type_of(kind)
    params.nthread = int(os.environ.get("ORCHESTRATOR_WORKER_THREADS") or 0)
    params.dry_run = dry
    ear = _Ear(step)
    callback: Any = C.llama_log_callback(ear)
    C.llama_log_set(callback, None)
    try:
        with LOG.kept_apart():
            code = C.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    finally:
        C.llama_log_set(_quiet, None)
    if code:
        raise _trouble(ear.cause, kind, target.parent)
    return ear.size_bytes


_quiet = C.llama_log_callback(LOG)  # referenced for ever: C keeps the pointer


def _type_of(kind: str) -> int:
    known = {each.lower(): each for each in QUANTIZE}
    if kind.lower() not in known:
        raise Trouble(
            TroubleKind.NOT_FOUND,
            f"llama.cpp cannot quantise to '{kind}'",
            fix=f"use one of: {', '.join(QUANTIZE)}",
        )
    return int(getattr(C, f"LLAMA_FTYPE_MOSTLY_{known[kind.lower()].upper()}"))


def _trouble(cause: str, kind: str, folder: Path) -> Trouble:
    quantised = _REQUANTISED.search(cause)
    if quantised:
        return Trouble(
            TroubleKind.NOT_FOUND,
            f"its weights are quantised already ({quantised[1]}), and doing that twice costs quality twice",
            fix=f"name a file in f16, bf16 or f32 to make {kind} of, or drop `quantize`",
        )
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize < _MIB:
        return Trouble(
            TroubleKind.DISK_FULL, f"the disk of {folder} has no room left for the {kind} file", fix=FIX
        )
    return Trouble(TroubleKind.FAILED, f"llama.cpp's quantiser failed: {cause or 'it does not say why'}")
