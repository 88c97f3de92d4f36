"""llama.cpp's models, typed: load, tokenise, read metadata.

This module, `context` and `sampling` are the only callers of C.
"""

import ctypes
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.workers.frames import FailureKind, LoadRefused
from orchestrator.workers.pages import any_copied, let_go


def bindings(name: str) -> Any:  # noqa: ANN401 (untyped modules)
    """Import one module of llama-cpp-python alone.

    The package's own start imports its Python layer, and with it numpy and jinja2: 300 ms in which nothing
    is served and nothing of which is used here.
    """
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None:
        raise ImportError("llama-cpp-python is not installed")
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # else a failed assertion starts gdb and prints 40 KB
    if "llama_cpp" not in sys.modules:
        sys.modules["llama_cpp"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"llama_cpp.{name}")


C: Any = bindings("llama_cpp")
# The same library, called without giving up the interpreter lock: for calls of microseconds, where taking the
# lock back from a busy event loop would cost far more than the call.
FAST: Any = ctypes.PyDLL(C._lib._name)  # noqa: SLF001 (the only way to learn the path that was loaded)
FAST.llama_token_to_piece.argtypes = C.llama_token_to_piece.argtypes
FAST.llama_token_to_piece.restype = C.llama_token_to_piece.restype

_WARNING, _CONT = 3, 5  # ggml_log_level; CONT goes on with the line before
_KEPT_LINES = 200
_NO_DEVICES = (ctypes.c_void_p * 1)()  # a list that ends at once; referenced for ever, C reads it
_MAGIC = b"GGUF"


class _Log:
    """llama.cpp's log: warnings go to standard error; while a model loads, lines are kept for a diagnosis."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, str]] = []
        self.keeping = False
        self._most = _KEPT_LINES
        self._last = 0
        self._echo = _WARNING if not os.environ.get("ORCHESTRATOR_WORKER_DEBUG") else 0

    @contextmanager
    def all_kept(self) -> Iterator[None]:
        """Keep every line logged meanwhile, those of several calls together."""
        self.kept.clear()
        self._most = 0
        try:
            yield
        finally:
            self._most = _KEPT_LINES

    @contextmanager
    def kept_apart(self) -> Iterator[None]:
        """Keep the lines logged meanwhile, and print none of them."""
        if self._most:
            self.kept.clear()
        self.keeping = True
        try:
            yield
        finally:
            self.keeping = False

    def __call__(self, level: int, text: bytes, _data: object) -> None:
        level = self._last if level == _CONT else level
        self._last = level
        line = text.decode(errors="replace")
        if self.keeping:
            self.kept.append((level, line.strip()))
            if self._most:
                del self.kept[: -self._most]
        if level >= self._echo and not self.keeping:
            sys.stderr.write(line)


LOG = _Log()
_log_callback = C.llama_log_callback(LOG)  # referenced for ever: C keeps the pointer
C.llama_log_set(_log_callback, None)


def _parameters(accelerator: str, *, dry: bool) -> Any:  # noqa: ANN401 (a C struct)
    """Return llama.cpp's parameters of a model; `dry` reads the file's header and allocates nothing.

    Raises:
        LoadRefused: the accelerator that is asked for is not one of this build.
    """
    offloads = bool(C.llama_supports_gpu_offload())
    if accelerator not in {"auto", "cpu"} and not offloads:
        message = f"this llama-cpp-python computes on the CPU only, and the model asks for {accelerator}"
        raise LoadRefused(FailureKind.UNAVAILABLE, message)
    params = C.llama_model_default_params()
    if accelerator == "cpu":
        params.n_gpu_layers = 0
        params.devices = ctypes.addressof(_NO_DEVICES)
    if dry:
        params.no_alloc = True
        params.load_mode = C.LLAMA_LOAD_MODE_NONE  # with any kind of mapping it aborts
    return params


class Model:
    """One loaded GGUF file. Everything here may be called from any thread."""

    def __init__(self, path: Path, *, accelerator: str = "auto", dry: bool = False) -> None:
        """Load the file; where `dry`, read its header only, which is enough for a forecast.

        Raises:
            LoadRefused: with llama.cpp's own cause.
        """
        _check_file(path)
        C.llama_backend_init()
        params = _parameters(accelerator, dry=dry)
        with LOG.kept_apart():
            self.pointer = C.llama_model_load_from_file(os.fsencode(path), params)
        if not self.pointer:
            raise _refusal(path)
        if not dry and any_copied(line for _, line in LOG.kept):
            let_go(path)
        self.vocab = C.llama_model_get_vocab(self.pointer)
        self.n_vocab: int = C.llama_vocab_n_tokens(self.vocab)
        self.n_embd: int = C.llama_model_n_embd_out(self.pointer)
        self.n_parameters: int = C.llama_model_n_params(self.pointer)
        self.train_context: int = C.llama_model_n_ctx_train(self.pointer)
        self.size_bytes: int = C.llama_model_size(self.pointer)
        # States of recurrent layers cannot be cut back to a prefix.
        self.rewindable: bool = not (
            C.llama_model_is_recurrent(self.pointer) or C.llama_model_is_hybrid(self.pointer)
        )
        self._pieces: dict[int, bytes | None] = {}
        self._ending: tuple[int, ...] | None = None

    def tokenize(self, text: str, *, add_bos: bool) -> list[int]:
        """Return the tokens of `text`, control tokens written in it recognised.

        `add_bos` adds what the model wants in front, if it wants anything.
        """
        encoded = text.encode(errors="replace")
        room = len(encoded) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            count = C.llama_tokenize(self.vocab, encoded, len(encoded), tokens, room, add_bos, True)  # noqa: FBT003 (a C function)
            if count >= 0:
                return tokens[:count]
            room = -count

    def piece(self, token: int) -> bytes | None:
        """Return the bytes of a token: None where it ends the answer, b"" for other control tokens."""
        try:
            return self._pieces[token]
        except KeyError:
            piece = None if C.llama_vocab_is_eog(self.vocab, token) else self.render(token, special=False)
            self._pieces[token] = piece
            return piece

    def render(self, token: int, *, special: bool) -> bytes:
        """Return the bytes of a token, those of a control token's name too where `special`."""
        if not 0 <= token < self.n_vocab:
            return b""
        buffer, room = ctypes.create_string_buffer(64), 64
        length = FAST.llama_token_to_piece(self.vocab, token, buffer, room, 0, special)
        if length < 0:
            buffer, room = ctypes.create_string_buffer(-length), -length
            length = FAST.llama_token_to_piece(self.vocab, token, buffer, room, 0, special)
        return buffer.raw[:length]

    @cached_property
    def longest_piece(self) -> int:
        """The most bytes that one token of a text stands for."""
        lengths = (len(self.render(token, special=True)) for token in range(self.n_vocab))
        return max(1, max(lengths, default=1))

    @property
    def ending_tokens(self) -> tuple[int, ...]:
        """All tokens that end an answer."""
        if self._ending is None:
            tokens = range(self.n_vocab)
            self._ending = tuple(t for t in tokens if C.llama_vocab_is_eog(self.vocab, t))
        return self._ending

    @property
    def bos_text(self) -> str:
        """The text of the token in front of everything, as chat templates write it; "" for none."""
        return self.render(C.llama_vocab_bos(self.vocab), special=True).decode(errors="replace")

    @property
    def eos_text(self) -> str:
        return self.render(C.llama_vocab_eos(self.vocab), special=True).decode(errors="replace")

    @property
    def chat_template(self) -> str | None:
        """The Jinja text in the file; None where it has none."""
        template = C.llama_model_chat_template(self.pointer, None)
        return None if template is None else template.decode(errors="replace")

    @property
    def pooling_is_set(self) -> bool:
        """True where the file says how embeddings are pooled: it was trained to make them."""
        return bool(self._metadata(f"{self.architecture}.pooling_type"))

    @property
    def architecture(self) -> str:
        """The family of the model, as its file names it."""
        return self._metadata("general.architecture")

    def _metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(256)
        length = C.llama_model_meta_val_str(self.pointer, key.encode(), buffer, 256)
        return "" if length < 0 else buffer.value.decode(errors="replace")


def _check_file(path: Path) -> None:
    """Raise for what can be said more plainly than llama.cpp does."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise LoadRefused(FailureKind.NOT_FOUND, f"there is no file {path}") from None
    except OSError as error:
        raise LoadRefused(FailureKind.FAILED, f"{path} cannot be read: {error.strerror}") from None
    if not magic:
        raise LoadRefused(FailureKind.CORRUPT, f"{path} is empty")
    if magic != _MAGIC:
        raise LoadRefused(FailureKind.CORRUPT, f"{path} is not a GGUF file: it begins with {magic!r}")


_OUT_OF_MEMORY = re.compile(
    r"failed to allocate|unable to allocate|out of memory|insufficient memory|bad_alloc", re.IGNORECASE
)


def logged_cause() -> tuple[str, bool]:
    """Return why the call just made failed, in llama.cpp's words, and whether memory ran out."""
    lines = [line for level, line in LOG.kept if level > _WARNING and line]
    # The first error is the cause; those after it are callers passing it on. They repeat it as
    # "function: error loading model: cause"; only the cause is news to a reader.
    causes = [re.sub(r"^(\w+: )+(error \w+ \w+: )?", "", line).rstrip(". ") for line in lines]
    return (causes[0] if causes else "llama.cpp gives no cause"), bool(_OUT_OF_MEMORY.search(" ".join(lines)))


def _refusal(path: Path) -> LoadRefused:
    cause, out_of_memory = logged_cause()
    if out_of_memory:
        return LoadRefused(FailureKind.OUT_OF_MEMORY, f"{path} does not fit into memory: {cause}")
    if "unknown model architecture" in cause:
        return LoadRefused(FailureKind.UNKNOWN_ARCHITECTURE, f"{path}: {cause}")
    return LoadRefused(FailureKind.CORRUPT, f"{path} does not load: {cause}")
