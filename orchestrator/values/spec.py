"""A model file, parsed and with defaults filled in; and the identity of what it loads."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

NEAR_SUFFIXES: Final = (".localhost", ".local", ".lan", ".home", ".home.arpa", ".internal")
REVISION_DIGITS = 12


class ModelState(StrEnum):
    """What the user wants of a model; the words of `state:` in its file."""

    ACTIVE = "active"
    TESTING = "testing"  # served, but only when named: no policy picks it
    DEPRECATED = "deprecated"  # as testing, and every answer says so
    ABSENT = "absent"


class LoadWhen(StrEnum):
    """When a model is in memory; the words of `load:`."""

    ALWAYS = "always"
    ON_DEMAND = "on-demand"


class Apply(StrEnum):
    """What becomes of a newer version of a source that can move; the words of `update.apply:`."""

    ROLLOUT = "rollout"
    NOTIFY = "notify"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the weights come from.

    `written` is the text as the file has it, with `${…}` unresolved: the only
    form that may be shown. `location` is, by scheme: an absolute path (`file`),
    the name of a shipped model (`demo`), `org/repo[/file][@revision]` (`hf`),
    the whole URL (`https`), a tag such as `gemma3:1b` (`ollama`), or what the
    engine itself calls the model (`name`); it may hold a substituted secret.
    `sha256` pins the content. `resolved` identifies what a reference that can
    move meant when it was fetched, "" until then and where nothing can move.
    """

    written: str
    scheme: str
    location: str = field(repr=False)
    sha256: str | None = None
    resolved: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Defaults that a request may override; None leaves the choice to the engine."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None

    def as_request_fields(self) -> dict[str, float | int]:
        """Return the values that are set, under their names in a request body."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How a source that can move is followed; `check_every_s` None never looks."""

    check_every_s: float | None = None
    apply: Apply = Apply.NOTIFY


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a paid endpoint takes for a million tokens, in US dollars."""

    input_per_million: float = 0.0
    output_per_million: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model as its file describes it.

    `revision` identifies what is loaded: it changes with the engine, the
    resolved source and every field that changes the loaded artefact, and with
    nothing else. `launch` identifies how a replica of it was started: two
    specs of one revision that need different processes differ in it.

    `endpoints` are base URLs of servers that exist already, `endpoints_written`
    the same with `${…}` unresolved: the only form that may be shown. `command` is an
    argv whose `{port}`, `{socket}` and `{model}` are filled in; `health` the
    path that answers 200 once it serves. `memory_bytes` overrides the estimate
    of the peak. `pinned` models are never evicted. `api_key` and the values of
    `environment` never appear in a representation, a log, a status or an error.
    """

    name: str
    engine: str
    source: Source
    state: ModelState = ModelState.ACTIVE
    load: LoadWhen = LoadWhen.ALWAYS
    idle_s: float = 600.0
    pinned: bool = False
    context: int = 4096
    parallel: int = 4
    quantize: str = ""
    accelerator: str = "auto"
    memory_bytes: int | None = None
    capabilities: tuple[str, ...] = ("chat", "completion")
    sampling: Sampling = Sampling()
    update: Update = Update()
    endpoints: tuple[str, ...] = field(default=(), repr=False)
    endpoints_written: tuple[str, ...] = ()
    api_key: str = field(default="", repr=False)
    paid: bool = False
    prices: Prices = Prices()
    command: tuple[str, ...] = field(default=(), repr=False)
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    health: str = "/health"
    revision: str = field(init=False)
    launch: str = field(init=False)

    def __post_init__(self) -> None:
        artefact: dict[str, object] = {
            "engine": self.engine,
            "scheme": self.source.scheme,
            "location": self.source.location,
            "sha256": self.source.sha256,
            "context": self.context,
        }
        # What is left at its default is left out, so that a new field changes no revision.
        further = {
            "resolved": self.source.resolved,
            "quantize": self.quantize,
            "accelerator": "" if self.accelerator == "auto" else self.accelerator,
            "endpoints": self.endpoints,
            "command": self.command,
            "environment": self.environment,
        }
        artefact |= {name: value for name, value in further.items() if value}
        started: dict[str, object] = {"revision": digest(artefact), "parallel": self.parallel}
        if self.api_key:
            started["api_key"] = hashlib.sha256(self.api_key.encode()).hexdigest()
        object.__setattr__(self, "revision", digest(artefact))
        object.__setattr__(self, "launch", digest(started))

    @property
    def wanted(self) -> bool:
        """True where the model should be served."""
        return self.state is not ModelState.ABSENT

    @property
    def remote(self) -> bool:
        """True where its requests leave the machine's own networks, or cost money."""
        return self.paid or any(not is_near(endpoint) for endpoint in self.endpoints)

    @property
    def resident(self) -> bool:
        """True where the model should be in memory whether anybody asks for it or not."""
        return self.wanted and self.load is LoadWhen.ALWAYS


def is_near(url: str) -> bool:
    """Say whether a URL's host is on this machine or its own networks, as far as its name tells.

    Addresses that are not routed on the internet are near; so are names without a dot and under the
    suffixes of home and office networks (RFC 6762, RFC 8375, ICANN's `.internal`). Who connects looks at the
    resolved addresses as well: a name can lie.
    """
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    try:
        address = ip_address(host)
    except ValueError:
        # Resolvers read bare numbers as addresses: 134744072 and 0x8080808 are 8.8.8.8.
        number = host[:1].isdigit() and "." not in host
        return not number and ("." not in host or host.endswith(NEAR_SUFFIXES))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return not (mapped or address).is_global


def digest(content: Mapping[str, object]) -> str:
    """Return the first hexadecimal digits of the SHA-256 of `content` as canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:REVISION_DIGITS]
