"""A model as mlx-lm loads it, typed: its weights, its vocabulary, its chat template."""

from functools import cached_property
from json import loads
from pathlib import Path
from typing import Any

from orchestrator.workers.frames import FailureKind, LoadRefused
from orchestrator.workers.mlx_folder import MlxFolder, read_folder
from orchestrator.workers.mlx_pieces import pieces_of
from orchestrator.workers.mlx_runtime import UTILS


class MlxModel:
    """One loaded folder. What is about text may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Load it. Has to be called on the thread that will decode: mlx's streams belong to threads.

        Raises:
            LoadRefused: with the cause in one sentence.
        """
        self.folder: MlxFolder = read_folder(path)
        try:
            self.network, config = UTILS.load_model(path)
            wrapped = UTILS.load_tokenizer(path, eos_token_ids=config.get("eos_token_id"))
        except (ValueError, RuntimeError, KeyError, TypeError, OSError, ImportError, MemoryError) as error:
            raise _refusal(path, error) from error
        self._tokenizer: Any = wrapped._tokenizer  # noqa: SLF001 (its wrapper hides nothing that is needed here)
        self._backend: Any = self._tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self.ending_tokens: tuple[int, ...] = tuple(sorted(wrapped.eos_token_ids))
        self.n_vocab = self._vocabulary_size()
        self.n_parameters: int = UTILS.get_total_parameters(self.network)
        self.train_context = self.folder.train_context
        self.size_bytes = self.folder.weights_bytes

    def tokenize(self, text: str, *, add_bos: bool) -> list[int]:
        """Return the tokens of `text`, control tokens written in it recognised.

        `add_bos` adds what the model wants in front, if it wants anything.
        """
        encoded = text.encode(errors="replace").decode()
        ids: list[int] = self._backend.encode(encoded, add_special_tokens=add_bos).ids
        return ids

    def piece(self, token: int) -> bytes | None:
        """Return the bytes of a token: None where it ends the answer, b"" for other control tokens."""
        if token in self._ending:
            return None
        return self._pieces[token] if token < len(self._pieces) else b""

    @cached_property
    def longest_piece(self) -> int:
        """The most bytes that one token of a text stands for."""
        names = (len(name.encode()) for name in self._tokenizer.get_added_vocab())
        return max(1, *map(len, self._pieces), *names)

    @property
    def bos_text(self) -> str:
        """The text of the token in front of everything, as chat templates write it; "" for none."""
        return str(self._tokenizer.bos_token or "")

    @property
    def eos_text(self) -> str:
        return str(self._tokenizer.eos_token or "")

    @property
    def chat_template(self) -> str | None:
        """The Jinja text that came with the tokenizer; None where none did."""
        template = self._tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        return template if isinstance(template, str) else None

    @cached_property
    def _ending(self) -> frozenset[int]:
        return frozenset(self.ending_tokens)

    @cached_property
    def _pieces(self) -> list[bytes]:
        names: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        tokens: list[str | None] = [None] * (max(names.values(), default=-1) + 1)
        for name, number in names.items():
            tokens[number] = name
        return pieces_of(loads(self._backend.to_str()), tokens)

    def _vocabulary_size(self) -> int:
        size = self.folder.text_config.get("vocab_size")
        return size if isinstance(size, int) else len(self._tokenizer)


def _refusal(path: Path, error: Exception) -> LoadRefused:
    cause = str(error).strip().partition("\n")[0].rstrip(". ") or type(error).__name__
    if isinstance(error, MemoryError) or "llocat" in cause or "nsufficient" in cause:
        return LoadRefused(FailureKind.OUT_OF_MEMORY, f"{path} does not fit into memory: {cause}")
    if "not supported" in cause or "custom module" in cause:
        return LoadRefused(FailureKind.UNKNOWN_ARCHITECTURE, f"{path}: {cause}")
    if isinstance(error, KeyError):
        cause = f"its config.json lacks {cause}"
    return LoadRefused(FailureKind.CORRUPT, f"{path} does not load: {cause}")
