"""What a tag means in its registry now: the digest of its manifest, which Ollama itself has no way to tell.

This goes to the internet as a pull does: for one small document, asked for as Ollama asks for it.
"""

import asyncio
import hashlib
from typing import Final

import aiohttp
from yarl import URL

from orchestrator.engines.egress import Egress, read_at_most
from orchestrator.engines.ollama.names import HOST, parse
from orchestrator.errors import SourceNotFound, SourceUnreachable
from orchestrator.values.spec import Source

ACCEPT: Final = "application/vnd.docker.distribution.manifest.v2+json"
_TOO_LARGE: Final = 4 << 20
_WITHIN_S: Final = 30.0
_OK: Final = 200
_NOT_FOUND: Final = 404


class Registry:
    """Where tags are published.

    Args:
        base: where those without a host of their own are.
    """

    def __init__(self, base: str = f"https://{HOST}") -> None:
        self._base = base.rstrip("/")

    async def digest(self, source: Source) -> str:
        """Return the SHA-256 of the manifest, as /api/tags has it after a pull.

        Raises:
            SourceNotFound: there is no such tag.
            SourceUnreachable: it cannot be told now.
        """
        name = parse(source.location)
        base = self._base if name.host == HOST else f"https://{name.host}"
        url = URL(f"{base}/v2/{name.namespace}/{name.model}/manifests/{name.tag}")
        session = Egress(anywhere=True).session({"accept": ACCEPT})
        try:
            async with asyncio.timeout(_WITHIN_S), session, session.get(url) as answer:
                if answer.status == _NOT_FOUND:
                    raise SourceNotFound(
                        f"source '{source.written}': its registry has no such tag any more",
                        fix="look for the tag on https://ollama.com/library",
                    )
                if answer.status != _OK:
                    raise _unreachable(source, f"its registry answers with status {answer.status}")
                content = await read_at_most(answer, _TOO_LARGE)
        except (aiohttp.ClientError, OSError, TimeoutError):
            raise _unreachable(source, f"{url.host} does not answer") from None
        return hashlib.sha256(content).hexdigest()


def _unreachable(source: Source, why: str) -> SourceUnreachable:
    return SourceUnreachable(f"source '{source.written}': {why}", fix="it is tried again by itself")
