"""The grammar of `source`: which kinds there are, and how each is written.

Which kinds an engine takes is the engine's business, and so is what text
without a scheme stands for; a scheme that is not known here is passed on to
the engine that takes it. Like the notations, no message holds the value itself.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from orchestrator.config.notation import Unreadable
from orchestrator.values.engine import EngineTraits

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
SCHEME: Final = re.compile(r"([a-z][a-z0-9+-]*):")
DEMO_MODELS: Final = ("tiny", "small")
# Repository, file, revision, as the Hugging Face Hub names them.
HF: Final = re.compile(r"([\w.-]+/[\w.-]+)((?:/[^/@:]+)*)(?:@([\w.-]+(?:/[\w.-]+)*))?", re.ASCII)
# As Ollama and llama.cpp write a repository and a quantisation of it.
QUANT: Final = re.compile(r"[\w.-]+/[\w.-]+:[\w.-]+", re.ASCII)
# Host, namespace, model and tag, as Ollama names them; all but the model may be left out.
OLLAMA: Final = re.compile(
    r"(?:[\w.-]+(?::[0-9]+)?/)?(?:[\w.-]+/)?[\w][\w.-]{0,79}(?::[\w][\w.-]{0,79})?", re.ASCII
)
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
LONGEST: Final = 4096

# How a source of each kind looks, for messages; in the order in which they are listed.
FORMS: Final[Mapping[str, str]] = {
    "file": "file:PATH",
    "hf": "hf:ORG/REPO/FILE",
    "https": "https://HOST/FILE@sha256:DIGEST",
    "demo": "demo:tiny or demo:small",
    "ollama": "a tag such as gemma3:1b",
    "name": "the name that its server gives the model",
}
# The kinds that are told by what the text starts with, whatever the engine is.
TELLING: Final = frozenset({"file", "hf", "https", "demo"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A source taken apart; see `values.spec.Source`."""

    scheme: str
    location: str = field(repr=False)
    sha256: str | None = None


def parts(text: str, traits: EngineTraits) -> Parts:
    """Return what a source of one of the engine's kinds is made of.

    Raises:
        Unreadable: it is of no kind, of one that the engine does not take, or not written as it should be.
    """
    body, at, digest = text.partition("@sha256:")
    if at and not DIGEST.fullmatch(digest):
        fix = "write @sha256: and 64 digits (0-9a-f)"
        raise Unreadable("is pinned to something that is not a SHA-256", fix)
    scheme, location = _split(body, traits)
    if scheme not in traits.schemes:
        raise Unreadable(f"is of a kind that engine {traits.name} does not take", f"write {forms(traits)}")
    if len(location) > LONGEST or CONTROL.search(location):
        raise Unreadable("is too long, or holds characters that cannot be seen", f"write {forms(traits)}")
    GRAMMAR.get(scheme, _anything)(location, digest)
    return Parts(scheme=scheme, location=location, sha256=digest or None)


def forms(traits: EngineTraits) -> str:
    """Return how sources look that the engine takes, for people."""
    known = [form for scheme, form in FORMS.items() if scheme in traits.schemes]
    known += [f"{scheme}:…" for scheme in traits.schemes if scheme not in FORMS]
    return ", or ".join(known)


def _split(body: str, traits: EngineTraits) -> tuple[str, str]:
    """Return scheme and location of a source without its digest."""
    if body.startswith("https://"):
        return "https", body
    if body.startswith("http://"):
        raise Unreadable("would be fetched without encryption", _instead_of_http(traits))
    found = SCHEME.match(body)
    scheme = found[1] if found else ""
    if scheme in TELLING or (scheme in traits.schemes and scheme != traits.bare):
        return scheme, body.removeprefix(f"{scheme}:")
    if not traits.bare or (body.startswith(("/", "./", "../", "~")) and "file" in traits.schemes):
        raise Unreadable("is not a source", f"write {forms(traits)}")
    return traits.bare, body


def _instead_of_http(traits: EngineTraits) -> str:
    if "https" in traits.schemes:
        return "write https://…@sha256:…; or download it and write file:PATH"
    return f"write {forms(traits)}"


def _file(location: str, _digest: str) -> None:
    if not location:
        raise Unreadable("names no file", "write file: and a path")


def _demo(location: str, _digest: str) -> None:
    if location not in DEMO_MODELS:
        raise Unreadable("is not a shipped model", "write one of: demo:tiny, demo:small")


def _hf(location: str, digest: str) -> None:
    found = HF.fullmatch(location)
    path = found[2].split("/")[1:] if found else []
    if not found or any(name in {".", ".."} for name in [*found[1].split("/"), *path]):
        fix = "write hf:ORG/REPO or hf:ORG/REPO/FILE, with @REVISION behind it where one is meant"
        if QUANT.fullmatch(location):
            fix = "name the file in place of the quantisation: hf:ORG/REPO/FILE.gguf"
        raise Unreadable("is not a place on the Hugging Face Hub", fix)
    if digest and not path:
        fix = "name the file, as in hf:ORG/REPO/FILE@sha256:…; or pin the repository with @ and a commit"
        raise Unreadable("pins a whole repository to the digest of one file", fix)


def _https(location: str, digest: str) -> None:
    try:
        url = urlsplit(location)
        known = bool(url.hostname) and (url.port is None or url.port > 0) and url.path.strip("/")
    except ValueError:
        known = False
    if not known or " " in location:
        raise Unreadable("is not the address of a file", f"write {FORMS['https']}")
    if not digest:
        fix = "add @sha256: and the file's 64 digits: from where it is published, or from `sha256sum FILE`"
        raise Unreadable("is not pinned: what lies behind an address can change", fix)


def _ollama(location: str, _digest: str) -> None:
    if not OLLAMA.fullmatch(location):
        fix = "write it as `ollama pull` takes it, such as gemma3:1b or hf.co/USER/REPO:QUANT"
        raise Unreadable("is not a tag", fix)


def _name(location: str, digest: str) -> None:
    if not location or location != location.strip():
        raise Unreadable("is not a name", f"write {FORMS['name']}")
    if digest:
        fix = "remove @sha256: and what follows: which weights it stands for is up to its server"
        raise Unreadable("is a name, which cannot be pinned", fix)


def _anything(location: str, _digest: str) -> None:
    if not location.strip():
        raise Unreadable("names nothing", "write what the engine is to load")


GRAMMAR: Final[Mapping[str, Callable[[str, str], None]]] = {
    "file": _file,
    "demo": _demo,
    "hf": _hf,
    "https": _https,
    "ollama": _ollama,
    "name": _name,
}
