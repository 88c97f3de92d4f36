"""Deleting from servers' disks what no model of ours uses any more, and nothing that is somebody else's."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.engines.ollama.names import derived, parse
from orchestrator.engines.ollama.pins import Noted
from orchestrator.engines.ollama.server import Server
from orchestrator.engines.ollama.stock import TAGS, Stock
from orchestrator.values.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What we have made on servers, and which tags we have pulled there."""

    made: Noted
    pulled: Noted


async def remove(
    server: Server, spec: ModelSpec, keep: Sequence[ModelSpec], *, stock: Stock, notes: Notes
) -> int:
    """Delete what we have made for `spec`, and the tag if we have pulled it; return the bytes freed.

    Where no kept model has its name, older revisions of it go too. Weights that another model on the server
    uses stay there, and count for nothing.

    Raises:
        EngineError
        Refused
    """
    listed = await server.listed()
    kept = {name for other in keep for name in await stock.names(server, other)}
    doomed = {*await stock.names(server, spec), *_older(server, spec, keep, notes)} - kept
    tag = spec.source.location
    tag_kept = any(
        other.source.scheme == TAGS and parse(other.source.location).key == parse(tag).key for other in keep
    )
    if spec.source.scheme == TAGS and not tag_kept and (server.url, tag) in notes.pulled.all():
        doomed.add(tag)
    blobs: dict[str, int] = {}
    for name in sorted(doomed):
        known = listed.get(parse(name).key)
        shown = await server.show(name) if known else None
        if known and shown and shown.blob:
            blobs[shown.blob] = max(known.size_bytes, blobs.get(shown.blob, 0))
        if known:
            await server.unload(name)  # deleting alone would leave it in memory, where nobody could name it
            await server.delete(name)
        notes.pulled.discard((server.url, name))
        notes.made.discard((server.url, name))
    return sum([size for blob, size in blobs.items() if not await server.has_blob(blob)])


def _older(server: Server, spec: ModelSpec, keep: Sequence[ModelSpec], notes: Notes) -> set[str]:
    """Return all that we have made there under the model's name, unless a kept one has the same."""
    if any(other.name == spec.name for other in keep):
        return set()
    model = parse(derived(spec, "")).model
    return {name for url, name in notes.made.all() if url == server.url and parse(name).model == model}
