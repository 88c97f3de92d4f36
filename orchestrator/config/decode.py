"""Valid data into values; defaults are those of the values themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.notation import duration_s, listen_address, size_bytes, source_parts
from orchestrator.config.paths import expand
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec, ModelState, Sampling, Source

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a text means depends on: the configuration folder (absolute) and the environment."""

    folder: Path
    env: Mapping[str, str]


def model(name: str, data: Fields, written: Fields, around: Surroundings) -> ModelSpec:
    """Return the spec of a model file.

    Args:
        name: the stem of the file.
        data: its fields, resolved and valid.
        written: the same fields with `${…}` as in the file.
        around: where relative paths start.
    """
    scheme, location, sha256 = source_parts(data["source"])
    if scheme == "file":
        location = str(expand(location, around.env, around.folder))
    given: dict[str, Any] = {
        "name": name,
        "engine": data["engine"],
        "source": Source(written=written["source"], scheme=scheme, location=location, sha256=sha256),
    }
    if "state" in data:
        given["state"] = ModelState(data["state"])
    for field in ("context", "parallel"):
        if field in data:
            given[field] = int(data[field])
    if "capabilities" in data:
        given["capabilities"] = tuple(data["capabilities"])
    if "sampling" in data:
        given["sampling"] = sampling(data["sampling"])
    return ModelSpec(**given)


def sampling(data: Fields) -> Sampling:
    """Return sampling defaults; a whole number may be written as `40.0`, a real one as `1`."""
    whole = {"top_k", "max_tokens", "seed"}
    given: dict[str, Any] = {key: (int if key in whole else float)(item) for key, item in data.items()}
    return Sampling(**given)


def routing(name: str, data: Fields) -> RoutingPolicy:
    """Return the policy of a file of kind routing."""
    return RoutingPolicy(
        name=name,
        default=data.get("default", False),
        otherwise=tuple(data["otherwise"]),
        fallback=tuple(data.get("fallback", ())),
    )


DURATIONS = {
    "scan_every": "scan_every_s",
    "resync_every": "resync_every_s",
    "drain": "drain_s",
    "load_deadline": "load_deadline_s",
    "hang_deadline": "hang_deadline_s",
    "request_deadline": "request_deadline_s",
    "wait_for_model": "wait_for_model_s",
}
LISTS = ("api_keys", "allowed_hosts", "allowed_origins")
WORDS = ("watch", "log_format")


def settings(data: Fields, around: Surroundings) -> Settings:
    """Return the settings of the settings file."""
    given: dict[str, Any] = {key: data[key] for key in WORDS if key in data}
    given |= {key: tuple(data[key]) for key in LISTS if key in data}
    given |= {name: duration_s(data[key]) for key, name in DURATIONS.items() if key in data}
    if "listen" in data:
        given["host"], given["port"] = listen_address(data["listen"])
    if "state" in data:
        given["state_folder"] = str(expand(data["state"], around.env, around.folder))
    if "max_body" in data:
        given["max_body_bytes"] = size_bytes(data["max_body"])
    return Settings(**given)
