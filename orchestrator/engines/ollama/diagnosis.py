"""What `orchestrator doctor` says of a server."""

import asyncio
from collections.abc import Mapping, Sequence

from orchestrator.engines.base import Finding
from orchestrator.engines.ollama.local import kept_of
from orchestrator.engines.ollama.names import is_ours
from orchestrator.engines.ollama.place import is_here, port_of, shown
from orchestrator.engines.ollama.server import Resident, Server
from orchestrator.engines.ollama.trouble import Refused, check_version
from orchestrator.errors import EngineError


async def findings_of(server: Server, environment: Mapping[str, str]) -> Sequence[Finding]:
    """Return what is there, and what to do about what is not; never raises."""
    what = f"Ollama at {shown(server.url)}"
    try:
        version = await server.version()
        check_version(server.url, version)
        listed, resident = await server.listed(), await server.resident()
    except EngineError as error:
        said, fix = (text.replace(server.url, shown(server.url)) for text in (error.what, error.fix))
        return (Finding(what=what, ok=False, found=said, fix=fix),)
    except Refused as refused:
        fix = "name the server by its address: OLLAMA_HOST, or `endpoint` in the models' files"
        return (Finding(what=what, ok=False, found=f"it refuses us: status {refused.status}", fix=fix),)
    ours = sum(is_ours(each.name) for each in listed.values())
    found = f"{version}, {len(listed) - ours} models, {ours} made by orchestrator"
    lines = [Finding(what=what, ok=True, found=found)]
    strangers = [each for each in resident.values() if not is_ours(each.name)]
    if strangers:
        held = ", ".join(_held(each) for each in strangers)
        lines.append(
            Finding(what=what, ok=True, found=f"holds models of others, outside of our budget: {held}")
        )
    if is_here(server.url):
        slots = environment.get("OLLAMA_NUM_PARALLEL")
        said = f"OLLAMA_NUM_PARALLEL is {slots} for us" if slots else "OLLAMA_NUM_PARALLEL is not set for us"
        known = f"{said}; the server's own setting counts, and is 1 unless somebody has set it there"
        lines.append(Finding(what="`parallel` on Ollama", ok=True, found=known))
        lines.append(await asyncio.to_thread(_kept, port_of(server.url)))
    return lines


def _kept(port: int) -> Finding:
    what, bound = "prompts kept by Ollama", kept_of(port)
    if bound is not None:
        return Finding(what=what, ok=True, found=f"up to {bound >> 20} MiB for each model")
    return Finding(
        what=what,
        ok=True,
        found="up to 8 GiB for each model, unless the server is told otherwise; no estimate has that in it",
        fix="set LLAMA_ARG_CACHE_RAM=0 in the environment of the Ollama server, or a number of MiB",
    )


def _held(resident: Resident) -> str:
    return f"{resident.name} ({resident.size_bytes >> 20} MiB)"
