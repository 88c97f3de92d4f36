"""What is fetched, for one form of model: had, found again, followed and removed."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, TypeVar

from orchestrator.engines.base import OnDisk, Premises, Progress
from orchestrator.engines.children.errand import Errand, run
from orchestrator.engines.fetch.folders import (
    Digest,
    check_folder,
    files_of,
    folder_of,
    identity_of,
)
from orchestrator.engines.fetch.quantized import Quantized
from orchestrator.engines.fetch.reference import (
    NAMELESS,
    REMOTE,
    can_move,
    is_nameless,
    label_of,
    reference_of,
)
from orchestrator.engines.fetch.removal import remove_unused
from orchestrator.engines.sources import SourceChecks, check_form, path_of
from orchestrator.errors import EngineError, NotAllowed, SourceNotFound
from orchestrator.values.hidden import hiding
from orchestrator.values.spec import ModelSpec
from orchestrator.workers.fetch.holdings import Holding, Holdings
from orchestrator.workers.fetch.order import Order, encode_order
from orchestrator.workers.fetch.shelf import Shelf

Form = Literal["gguf", "mlx"]
T = TypeVar("T")
MODULE: Final = "orchestrator.workers.fetch"
# A child that works says something well before this much longer than a stall: it looks for itself.
QUIET_S: Final = 60.0
HUB: Final = "https://huggingface.co"

# What the fetching child may know of the daemon's environment besides what every worker may: the way out,
# the authorities to trust, and what the hub's own tools go by.
PASSED: Final = (
    *(
        name
        for each in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
        for name in (each, each.lower())
    ),
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_CACHE_HOME",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
)
_YES: Final = frozenset({"1", "true", "yes", "on"})


class Library:
    """The weights of an engine's models: `gguf` files, or folders as `mlx` reads them.

    Nothing is started by building it, and it needs no closing: what it starts ends with the call.
    """

    def __init__(self, premises: Premises, *, form: Form) -> None:
        self._premises = premises
        self._form = form
        self._shelf = Shelf(premises.cache)
        self._holdings = Holdings(self._shelf)
        self._checks = SourceChecks(self._shelf.seals)
        self._quantized = Quantized(premises, self._shelf, form)

    async def ensure(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Have the weights of `spec` here, checked and quantised as asked. As Engine.ensure_fetched.

        What is here and untouched since it was checked takes no network and no process.
        """
        with _placed(spec):
            if spec.source.scheme in REMOTE:
                holding = await self._fetched(spec, progress)
                size_bytes = sum(item.size_bytes for item in holding.items) or await asyncio.to_thread(
                    lambda: sum(self._shelf.blob(item.digest).stat().st_size for item in holding.items)
                )
                resolved = holding.resolved if can_move(spec.source) else ""
            else:
                size_bytes, resolved = await self._checked(spec), ""
            if spec.quantize:
                identity = await self._apart(lambda digest: self._identity(spec, digest))
                source = await asyncio.to_thread(self._source_path, spec)
                size_bytes += await self._quantized.ensure(spec, source, identity, progress)
            return OnDisk(resolved=resolved, size_bytes=size_bytes)

    def path_of(self, spec: ModelSpec) -> Path:
        """Return the GGUF file (of several parts: the first) or the MLX folder that `spec` loads.

        Reads a small file or two, and no network.

        Raises:
            SourceNotFound: it has not been fetched, or there is no such shipped model.
        """
        if not spec.quantize:
            return self._source_path(spec)
        with _placed(spec):
            return self._quantized.path_of(spec, self._identity(spec, self._checks.known))

    async def newest(self, spec: ModelSpec) -> str:
        """Return what the source means now. As Engine.newest."""
        if not can_move(spec.source):
            return ""
        with _placed(spec):
            answer = await self._send(spec, "look", lambda _: None)
            return str(answer["resolved"])

    async def remove(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        """Delete what only `spec` uses; return the bytes that freed. As Engine.ensure_removed.

        That is all that its source has ever meant here, except what it means for one of `keep`.
        """
        with _placed(spec):
            return await asyncio.to_thread(self._remove, spec, keep)

    async def _fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> Holding:
        found = await asyncio.to_thread(self._whole, spec)
        if found is None:
            await self._send(spec, "fetch", progress)
            found = await asyncio.to_thread(self._whole, spec)
        if found is None:
            raise EngineError(
                "the files have changed right after they were fetched", fix="look who writes there"
            )
        if self._form == "gguf":
            await asyncio.to_thread(check_form, self._first(found), spec.source)
        return found

    async def _checked(self, spec: ModelSpec) -> int:
        """Return the size of what the user has put there, or is shipped, once it is checked."""
        if self._form == "gguf":
            await self._checks.check(spec.source)
            return await asyncio.to_thread(lambda: path_of(spec.source).stat().st_size)
        return await self._apart(lambda digest: check_folder(spec.source, digest))

    async def _send(
        self, spec: ModelSpec, verb: str, progress: Callable[[Progress], None]
    ) -> Mapping[str, object]:
        """Have a child go to the network."""
        settings, environment = self._premises.settings, self._premises.environment
        if settings.offline or environment.get("HF_HUB_OFFLINE", "").lower() in _YES:
            who = "the settings file says `offline: true`" if settings.offline else "HF_HUB_OFFLINE is set"
            raise NotAllowed(f"it is not all here, and {who}", fix="allow it, or use a source that is here")
        await asyncio.to_thread(self._shelf.make)
        endpoint = (
            settings.hf_endpoint if settings.hf_endpoint != HUB else environment.get("HF_ENDPOINT", HUB)
        )
        order = Order(
            verb=verb,
            cache=str(self._shelf.cache.absolute()),
            scheme=spec.source.scheme,
            location=spec.source.location,
            form=self._form,
            reference=reference_of(spec, self._form),
            label=label_of(spec.source),
            name=NAMELESS if is_nameless(spec.source) else "",
            sha256=spec.source.sha256,
            resolved=spec.source.resolved,
            endpoint=endpoint.rstrip("/"),
            token=settings.hf_token,
            stall_s=settings.fetch_stall_s,
        )
        errand = Errand(
            name=f"fetch {spec.name}",
            module=MODULE,
            job=encode_order(order),
            folder=self._shelf.temporary,
            quiet_s=2 * settings.fetch_stall_s + QUIET_S,
            own=environment,
            further={name: environment[name] for name in PASSED if name in environment},
            redact=hiding(spec, _tokens(settings.hf_token, environment)),
        )
        return await run(errand, progress)

    def _whole(self, spec: ModelSpec) -> Holding | None:
        """Return the holding of `spec` if all of it is here and untouched."""
        holding = self._holdings.find(reference_of(spec, self._form), spec.source.resolved)
        return holding if holding is not None and self._holdings.is_whole(holding) else None

    def _first(self, holding: Holding) -> Path:
        folder = self._holdings.view(holding)
        return folder / holding.items[0].path if self._form == "gguf" else folder

    def _source_path(self, spec: ModelSpec) -> Path:
        if spec.source.scheme not in REMOTE:
            return path_of(spec.source) if self._form == "gguf" else folder_of(spec.source)
        return self._first(self._holding(spec))

    def _holding(self, spec: ModelSpec) -> Holding:
        holding = self._holdings.find(reference_of(spec, self._form), spec.source.resolved)
        if holding is None:
            raise SourceNotFound(
                f"source '{spec.source.written}' has not been fetched yet",
                where=spec.name,
                fix="it is fetched before it is loaded; see `orchestrator status`",
            )
        return holding

    def _identity(self, spec: ModelSpec, digest: Digest) -> str:
        """Return what identifies the weights before they are quantised."""
        if spec.source.scheme in REMOTE:
            return self._holding(spec).resolved
        if self._form == "gguf":
            found = [digest(path_of(spec.source))]
            identity = found[0]
        else:
            files = files_of(folder_of(spec.source), spec.source)
            found = [digest(path) for path in files]
            identity = identity_of(files, dict(zip(files, found, strict=True)).__getitem__)
        if not all(found):
            raise EngineError(
                "it has changed since it was checked", fix="reload, so that it is checked and quantised again"
            )
        return identity

    def _remove(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        freed = 0
        spec = replace(spec, source=replace(spec.source, resolved=""))
        if spec.quantize:
            kept = {found for other in keep if other.quantize for found in self._products_of(other)}
            for identity, kind in self._products_of(spec):
                if (identity, kind) not in kept:
                    freed += self._quantized.remove(spec, identity)
        if spec.source.scheme in REMOTE:
            kept_references = [(reference_of(other, self._form), other.source.resolved) for other in keep]
            mine = reference_of(spec, self._form)
            freed += remove_unused(self._shelf, self._holdings, mine, kept_references)
        return freed

    def _products_of(self, spec: ModelSpec) -> Iterator[tuple[str, str]]:
        """Return what could be in the cache of it, as identity and type."""
        kind = spec.quantize.lower()
        if spec.source.scheme not in REMOTE:
            try:
                identity = self._identity(spec, self._checks.last)
            except (EngineError, OSError):
                return  # nothing was made of it, or its folder is gone
            yield identity, kind
            return
        for holding in self._holdings.of(reference_of(spec, self._form)):
            if spec.source.resolved in {"", holding.resolved}:
                yield holding.resolved, kind

    async def _apart(self, work: Callable[[Digest], T]) -> T:
        """Do in a thread what asks for digests, which may read all of a model; cancelling stops that."""
        cancelled = threading.Event()
        try:
            return await asyncio.to_thread(work, lambda path: self._checks.digest(path, cancelled))
        finally:
            cancelled.set()


@contextmanager
def _placed(spec: ModelSpec) -> Iterator[None]:
    """Have every error say which model it is about, and its source as it is written."""
    try:
        yield
    except EngineError as error:
        error.where = error.where or spec.name
        if spec.source.written not in error.what:
            error.what = f"source '{spec.source.written}': {error.what}"
        raise
    except OSError as error:
        raise EngineError(
            f"source '{spec.source.written}' cannot be read: {error.strerror}",
            where=spec.name,
            fix="check the disk that it, or the cache, lies on",
        ) from None


def _tokens(own: str, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the tokens that the child is given, each with what is shown in its place."""
    passed = (environment.get(name, "") for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
    return {token.strip(): "(token)" for token in (own, *passed) if token.strip()}
