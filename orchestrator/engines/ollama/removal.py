"""Deleting from servers' disks what no model of ours uses any more, and nothing that is somebody else's."""

from collections.abc import Sequence

from orchestrator.engines.ollama.names import parse
from orchestrator.engines.ollama.pins import Noted
from orchestrator.engines.ollama.server import Server
from orchestrator.engines.ollama.stock import TAGS, Stock
from orchestrator.values.spec import ModelSpec


async def remove(
    server: Server, spec: ModelSpec, keep: Sequence[ModelSpec], *, stock: Stock, pulled: Noted
) -> int:
    """Delete our model of `spec`, and the tag it was made of where we have pulled it; return the bytes freed.

    Weights that another model on the server uses stay there, and count for nothing.

    Raises:
        EngineError
        Refused
    """
    listed = await server.listed()
    kept = {name for other in keep for name in await stock.names(server, other)}
    doomed = [name for name in await stock.names(server, spec) if name not in kept]
    tag = spec.source.location
    tag_kept = any(
        other.source.scheme == TAGS and parse(other.source.location).key == parse(tag).key for other in keep
    )
    if spec.source.scheme == TAGS and not tag_kept and (server.url, tag) in pulled.all():
        doomed.append(tag)
    blobs: dict[str, int] = {}
    for name in doomed:
        known = listed.get(parse(name).key)
        shown = await server.show(name) if known else None
        if known and shown and shown.blob:
            blobs[shown.blob] = max(known.size_bytes, blobs.get(shown.blob, 0))
        if known:
            await server.unload(name)  # deleting alone would leave it in memory, where nobody could name it
            await server.delete(name)
        pulled.discard((server.url, name))
    return sum([size for blob, size in blobs.items() if not await server.has_blob(blob)])
