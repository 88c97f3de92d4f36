"""What is not as it was loaded any more."""

from contextlib import suppress

from orchestrator.engines.ollama.names import parse
from orchestrator.engines.ollama.site import Site
from orchestrator.engines.ollama.stock import TAGS
from orchestrator.engines.ollama.trouble import Refused
from orchestrator.errors import EngineError


async def drift_of(site: Site) -> str:
    """Return how a server differs from what was loaded there."""
    source, stocked, seen = site.spec.source, site.stocked, site.resident
    if stocked is None or seen is None:
        return ""
    if seen.digest and stocked.digest and seen.digest != stocked.digest:
        return f"{stocked.name} was made anew at {site.server.url}"
    if source.scheme != TAGS or source.sha256 or not stocked.resolved:
        return ""
    with suppress(EngineError, Refused):
        base = (await site.server.listed()).get(parse(source.location).key)
        if base is not None and base.digest != stocked.resolved:
            return (
                f"{source.written} was pulled anew at {site.server.url}: it is {base.digest[:12]}, "
                f"and {stocked.resolved[:12]} is loaded"
            )
    return ""
