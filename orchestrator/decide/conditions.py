"""What is observed about a model, as conditions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from orchestrator.decide.serving import serving, unready
from orchestrator.values.catalog import Held, Problem
from orchestrator.values.condition import Condition, ConditionType, Truth
from orchestrator.values.fleet import Phase, Replica
from orchestrator.values.state import ModelRecord, Rejection

FETCH_REASONS: Final = frozenset({"SourceNotFound", "SourceCorrupt"})
WAY_OUT: Final = "edit its file, or run: orchestrator reload"

Finding = tuple[Truth, str, str]


def conditions(
    record: ModelRecord,
    replicas: Sequence[Replica],
    problems: Sequence[Problem],
    held: Sequence[Held],
    now: datetime,
) -> Mapping[ConditionType, Condition]:
    """Return the model's conditions; `since` is kept where the status did not move.

    Args:
        record: the model, with its conditions so far.
        replicas: its replicas, oldest first.
        problems: the problems of its own file.
        held: disappearances of its own file that are not obeyed.
        now: the present instant.
    """
    keep = serving(record, replicas)
    desired = record.desired
    rejection = record.rejected.get(desired.launch) if desired else None
    accepted = _accepted(record, problems, held)
    findings = {
        ConditionType.ACCEPTED: accepted,
        ConditionType.FETCHED: _fetched(record, replicas, rejection),
        ConditionType.READY: _ready(record, replicas, keep),
        ConditionType.PROGRESSING: _progressing(replicas),
        ConditionType.DEGRADED: _degraded(record, keep, rejection, accepted),
        ConditionType.STALLED: _stalled(rejection),
    }
    generation = record.document.generation if record.document else 0
    return {kind: _dated(record, kind, found, generation, now) for kind, found in findings.items()}


def _dated(
    record: ModelRecord, kind: ConditionType, found: Finding, generation: int, now: datetime
) -> Condition:
    status, reason, message = found
    before = record.conditions.get(kind)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        observed_generation=generation,
        since=before.since if before and before.status is status else now,
    )


def _accepted(record: ModelRecord, problems: Sequence[Problem], held: Sequence[Held]) -> Finding:
    if record.document is None:
        return Truth.TRUE, "Removed", "its file is gone"
    generation = record.document.generation
    if problems:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return (
            Truth.FALSE,
            "Invalid",
            f"{first.where}: {first.what}{more}; generation {generation} stays in force",
        )
    if held:
        return Truth.FALSE, "Held", f"{held[0].why}; generation {generation} stays in force"
    return Truth.TRUE, "Valid", f"generation {generation} is in force"


def _fetched(record: ModelRecord, replicas: Sequence[Replica], rejection: Rejection | None) -> Finding:
    desired = record.desired
    if desired is None:
        return Truth.UNKNOWN, "NotWanted", "nothing is fetched for a model that is not wanted"
    if rejection and rejection.reason in FETCH_REASONS:
        return Truth.FALSE, rejection.reason, rejection.message
    if any(r.launch == desired.launch and r.phase is Phase.READY for r in replicas):
        return Truth.TRUE, "Present", f"{desired.source.written} is on this machine"
    return Truth.UNKNOWN, "NotChecked", f"{desired.source.written} has not been looked at yet"


def _ready(record: ModelRecord, replicas: Sequence[Replica], keep: Replica | None) -> Finding:
    if keep:
        return Truth.TRUE, "Serving", f"revision {keep.spec.revision} serves on replica {keep.id}"
    if record.desired is None:
        return (
            Truth.FALSE,
            "NotWanted",
            "its file says state: absent" if record.document else "its file is gone",
        )
    starting = any(replica.phase is Phase.STARTING for replica in replicas)
    return Truth.FALSE, "Loading" if starting else "NotLoaded", unready(record, replicas)


def _progressing(replicas: Sequence[Replica]) -> Finding:
    for phase, reason, verb in (
        (Phase.STARTING, "Loading", "loads"),
        (Phase.DRAINING, "Draining", "finishes its requests"),
        (Phase.STOPPING, "Unloading", "unloads"),
    ):
        for replica in replicas:
            if replica.phase is phase:
                return Truth.TRUE, reason, f"revision {replica.spec.revision} {verb}: {replica.why}"
    return Truth.FALSE, "Settled", "nothing is under way"


def _degraded(
    record: ModelRecord, keep: Replica | None, rejection: Rejection | None, accepted: Finding
) -> Finding:
    desired = record.desired
    if desired and keep and keep.launch != desired.launch and rejection:
        return (
            Truth.TRUE,
            rejection.reason,
            f"revision {desired.revision} failed: {rejection.message}; still serving {keep.spec.revision}",
        )
    if keep and accepted[0] is Truth.FALSE:
        return Truth.TRUE, accepted[1], accepted[2]
    if keep is None:
        return Truth.FALSE, "NotServing", "nothing serves; see Ready"
    return Truth.FALSE, "AsAsked", "it is as its file asks"


def _stalled(rejection: Rejection | None) -> Finding:
    if rejection and rejection.retry_at is None:
        fix = f"; fix: {rejection.fix}" if rejection.fix else ""
        return Truth.TRUE, rejection.reason, f"{rejection.message}{fix}; to try again: {WAY_OUT}"
    if rejection:
        return Truth.FALSE, "Trying", "what failed is tried again by itself"
    return Truth.FALSE, "NothingFailed", "nothing that is asked for has failed"
