"""A model as mlx-lm loads it, typed: its weights, its vocabulary, its chat template."""

from json import loads
from pathlib import Path
from typing import Any, Final

from orchestrator.workers.frames import FailureKind, LoadRefused
from orchestrator.workers.mlx.folder import MlxFolder, read_folder
from orchestrator.workers.mlx.pieces import pieces_of
from orchestrator.workers.mlx.runtime import UTILS, give_back_freed

# What mlx, mlx-lm and transformers raise over folders that they cannot load.
_CAUSES: Final = (
    AttributeError,
    ImportError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class MlxModel:
    """One loaded folder. What is about text may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Load it. Has to be called on the thread that will decode: mlx's streams belong to threads.

        Raises:
            LoadRefused: with the cause in one sentence.
        """
        self.folder: MlxFolder = read_folder(path)
        try:
            self._read_tokenizer(path)
            # Reading a large vocabulary takes hundreds of MB for a moment: they are free for the weights.
            give_back_freed()
            self.network, _ = UTILS.load_model(path)
        except _CAUSES as error:
            raise refusal_of(path, error) from error
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

    def _read_tokenizer(self, path: Path) -> None:
        """Take what is needed of mlx-lm's tokenizer; the rest of it, which is large, is freed."""
        wrapped = UTILS.load_tokenizer(
            path, {"trust_remote_code": False}, eos_token_ids=UTILS.load_config(path).get("eos_token_id")
        )
        tokenizer = wrapped._tokenizer  # noqa: SLF001 (the wrapper hands on all names but those with underscores)
        self._backend: Any = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self.ending_tokens: tuple[int, ...] = tuple(sorted(wrapped.eos_token_ids))
        self._ending = frozenset(self.ending_tokens)
        self.bos_text = str(tokenizer.bos_token or "")
        self.eos_text = str(tokenizer.eos_token or "")
        template = tokenizer.chat_template
        template = template.get("default") if isinstance(template, dict) else template
        self.chat_template: str | None = template if isinstance(template, str) else None
        names: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        tokens: list[str | None] = [None] * (max(names.values(), default=-1) + 1)
        for name, number in names.items():
            tokens[number] = name
        decoder = self._backend.decoder
        added = {at: token.special for at, token in self._backend.get_added_tokens_decoder().items()}
        described = None if decoder is None else loads(decoder.__getstate__())
        self._pieces = pieces_of(tokens, described, added)
        controls = (len(name.encode()) for name, at in names.items() if not self._pieces[at])
        self.longest_piece = max(1, *map(len, self._pieces), *controls)
        size = self.folder.text_config.get("vocab_size")
        self.n_vocab = size if isinstance(size, int) else len(tokens)


def refusal_of(path: Path, error: Exception) -> LoadRefused:
    """Return why mlx-lm will not load a folder, from what it has raised."""
    cause = str(error).strip().partition("\n")[0].rstrip(". ") or type(error).__name__
    if isinstance(error, MemoryError) or "llocat" in cause or "nsufficient" in cause:
        return LoadRefused(FailureKind.OUT_OF_MEMORY, f"{path} does not fit into memory: {cause}")
    if any(said in cause for said in ("not supported", "custom module", "trust_remote_code", "custom code")):
        return LoadRefused(FailureKind.UNKNOWN_ARCHITECTURE, f"{path}: {cause}")
    if isinstance(error, KeyError):
        cause = f"its config.json lacks {cause}"
    return LoadRefused(FailureKind.CORRUPT, f"{path} does not load: {cause}")
