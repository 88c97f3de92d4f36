"""A spec as JSON, for the store: everything but its secrets."""

import json
from dataclasses import asdict, dataclass, replace
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSpec:
    """What was read back. `launch` is that of the whole spec, `spec` lacks what must not be stored."""

    spec: ModelSpec
    launch: str

    def whole(self, own: ModelSpec | None) -> ModelSpec | None:
        """Return the spec as it was; None where it cannot be told what is missing.

        Args:
            own: what the model's accepted file says now, None where there is none.
        """
        if self.spec.launch == self.launch:
            return self.spec
        filled = _filled(self.spec, own) if own else self.spec
        # A secret that has changed since then makes another launch, which never was the stable one.
        return filled if filled.launch == self.launch else None


def spec_to_json(spec: ModelSpec) -> str:
    """Return the spec as JSON, without what the references in it may stand for."""
    fields = asdict(spec)
    for secret in ("api_key", "environment"):
        del fields[secret]
    if "${" in spec.source.written:
        fields["source"]["location"] = UNRESOLVED
    if len(spec.endpoints_written) != len(spec.endpoints) or "${" in "".join(spec.endpoints_written):
        fields["endpoints"] = []
    return json.dumps(fields, sort_keys=True)


def spec_from_json(text: str) -> StoredSpec:
    """Return the spec that `spec_to_json` wrote; what was left out is at its default."""
    fields = json.loads(text)
    fields.pop("revision")
    launch = fields.pop("launch")
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
    return StoredSpec(spec=ModelSpec(**known), launch=launch)


def _filled(spec: ModelSpec, own: ModelSpec) -> ModelSpec:
    """Return the spec with what it lacks from a file that has the same references."""
    filled = replace(spec, api_key=own.api_key, environment=own.environment)
    if spec.source.location == UNRESOLVED and own.source.written == spec.source.written:
        filled = replace(filled, source=replace(own.source, resolved=spec.source.resolved))
    if not spec.endpoints and own.endpoints_written == spec.endpoints_written:
        filled = replace(filled, endpoints=own.endpoints)
    return filled
