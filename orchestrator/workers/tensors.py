"""The tensors of a GGUF file, from its header."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

from orchestrator.workers.llama_cpp import C

_LIBRARY: Final = "libggml-base.dylib" if sys.platform == "darwin" else "libggml-base.so"


class _Params(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


def sizes(path: Path) -> dict[str, int]:
    """Return the bytes of each tensor by its name; nothing where the file cannot be read."""
    library = ctypes.CDLL(str(Path(C._lib._name).with_name(_LIBRARY)))  # noqa: SLF001 (the only way to learn the path that was loaded)
    library.gguf_init_from_file.argtypes = [ctypes.c_char_p, _Params]
    library.gguf_init_from_file.restype = ctypes.c_void_p
    for function in (library.gguf_get_tensor_name, library.gguf_get_tensor_size):
        function.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    library.gguf_get_tensor_name.restype = ctypes.c_char_p
    library.gguf_get_tensor_size.restype = ctypes.c_size_t
    library.gguf_get_n_tensors.argtypes = library.gguf_free.argtypes = [ctypes.c_void_p]
    library.gguf_get_n_tensors.restype = ctypes.c_int64
    header = library.gguf_init_from_file(os.fsencode(path), _Params(no_alloc=True, ctx=None))
    if not header:
        return {}
    try:
        return {
            library.gguf_get_tensor_name(header, at).decode(errors="replace"): int(
                library.gguf_get_tensor_size(header, at)
            )
            for at in range(library.gguf_get_n_tensors(header))
        }
    finally:
        library.gguf_free(header)
