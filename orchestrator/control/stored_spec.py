"""A spec as JSON, for the store: everything but its secrets."""

import json
from dataclasses import asdict
from typing import Any, Final

from orchestrator.values.spec import (
    Apply,
    LoadWhen,
    ModelSpec,
    ModelState,
    Prices,
    Sampling,
    Source,
    Update,
)

# In place of a location that came from `${env:}` or `${file:}`: it may be a secret.
UNRESOLVED: Final = ""


def spec_to_json(spec: ModelSpec) -> str:
    """Return the spec as JSON, without what the references in it may stand for.

    `launch` tells whoever reads it back whether something is missing.
    """
    fields = asdict(spec)
    for secret in ("api_key", "environment"):
        del fields[secret]
    if "${" in spec.source.written:
        fields["source"]["location"] = UNRESOLVED
    return json.dumps(fields, sort_keys=True)


def spec_from_json(text: str) -> ModelSpec:
    """Return the spec that `spec_to_json` wrote; what was left out is at its default."""
    fields = json.loads(text)
    for made in ("revision", "launch"):
        fields.pop(made, None)
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    known: dict[str, Any] = plain | {
        "source": Source(**fields["source"]),
        "state": ModelState(fields["state"]),
        "sampling": Sampling(**fields["sampling"]),
    }
    if "load" in fields:
        known["load"] = LoadWhen(fields["load"])
        update = fields["update"]
        known["update"] = Update(check_every_s=update["check_every_s"], apply=Apply(update["apply"]))
        known["prices"] = Prices(**fields["prices"])
    return ModelSpec(**known)
