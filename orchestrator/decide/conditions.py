"""What is observed about a model, as conditions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from orchestrator.decide import budget
from orchestrator.decide.serving import NO_ROOM_FIX, serving, unready
from orchestrator.values.catalog import Held, Problem
from orchestrator.values.condition import Condition, ConditionType, Truth
from orchestrator.values.fleet import Phase, Replica
from orchestrator.values.spec import Apply, ModelSpec
from orchestrator.values.state import ModelRecord, Rejection, State

FETCH_REASONS: Final = frozenset({"SourceNotFound", "SourceCorrupt"})
WAY_OUT: Final = "edit its file, or run: orchestrator reload"

Finding = tuple[Truth, str, str]


def conditions(  # noqa: PLR0913, PLR0917 (what is observed of a model comes from seven places)
    state: State,
    record: ModelRecord,
    replicas: Sequence[Replica],
    problems: Sequence[Problem],
    held: Sequence[Held],
    now: datetime,
    how: budget.Standing | None = None,
) -> Mapping[ConditionType, Condition]:
    """Return the model's conditions; `since` is kept where the status did not move.

    Args:
        state: everything; for the memory and what was fetched.
        record: the model, with its conditions so far.
        replicas: its replicas, oldest first.
        problems: the problems of its own file.
        held: disappearances of its own file that are not obeyed.
        now: the present instant.
        how: `budget.standing(state)`, where the caller has it.
    """
    keep = serving(record, replicas)
    desired = record.desired
    how = how or budget.standing(state)
    hopeless = budget.obstacle(state, desired, how) if desired else ""
    rejection = record.rejected.get(desired.launch) if desired else None
    accepted = _accepted(record, problems, held)
    findings = {
        ConditionType.ACCEPTED: accepted,
        ConditionType.FETCHED: _fetched(state, record, replicas, rejection),
        ConditionType.FITS: _fits(state, desired, hopeless),
        ConditionType.READY: _ready(state, record, replicas, keep, how),
        ConditionType.PROGRESSING: _progressing(state, record, replicas),
        ConditionType.DEGRADED: _degraded(record, keep, rejection, accepted, hopeless),
        ConditionType.DRIFTED: _drifted(record, keep),
        ConditionType.STALLED: _stalled(rejection, hopeless),
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


def _fetched(
    state: State, record: ModelRecord, replicas: Sequence[Replica], rejection: Rejection | None
) -> Finding:
    desired = record.desired
    if desired is None:
        return Truth.UNKNOWN, "NotWanted", "nothing is fetched for a model that is not wanted"
    if rejection and (rejection.fetching or rejection.reason in FETCH_REASONS):
        return Truth.FALSE, rejection.reason, rejection.message
    ready = any(r.launch == desired.launch and r.phase is Phase.READY for r in replicas)
    if ready or desired.launch in state.fetched:
        return Truth.TRUE, "Present", f"{desired.source.written} is here and checked"
    if record.name in state.fetching:
        return Truth.FALSE, "Fetching", f"{desired.source.written} is being fetched and checked"
    return Truth.UNKNOWN, "NotChecked", f"{desired.source.written} has not been looked at yet"


def _fits(state: State, desired: ModelSpec | None, hopeless: str) -> Finding:
    if desired is None:
        return Truth.UNKNOWN, "NotWanted", "a model that is not wanted takes no memory"
    if hopeless:
        shared = budget.rival(state, desired) == hopeless
        return Truth.FALSE, "SharesWeights" if shared else "NeverFits", hopeless
    needed = budget.need(state, desired)
    if not needed:
        known = desired.launch in state.footprints
        said = "it takes no memory of this machine, as far as its engine can tell"
        return (Truth.TRUE, "Elsewhere", said) if known else (Truth.UNKNOWN, "NotKnown", "not looked at yet")
    measured = bool(state.footprints.get(desired.launch, budget.UNKNOWN).measured)
    source = "its file says" if desired.memory_bytes else "measured" if measured else "estimated"
    taken = " and ".join(budget.sized(size, pool) for pool, size in needed.items())
    return Truth.TRUE, "Fits", f"it takes {taken} ({source})"


def _ready(
    state: State,
    record: ModelRecord,
    replicas: Sequence[Replica],
    keep: Replica | None,
    how: budget.Standing,
) -> Finding:
    desired = record.desired
    if keep:
        return Truth.TRUE, "Serving", f"revision {keep.spec.revision} serves on replica {keep.id}"
    if desired is None:
        return (
            Truth.FALSE,
            "NotWanted",
            "its file says state: absent" if record.document else "its file is gone",
        )
    starting = any(replica.phase is Phase.STARTING for replica in replicas)
    resting = not desired.resident and not replicas and desired.launch in state.fetched
    reason = "Loading" if starting else "OnDemand" if resting else "NotLoaded"
    return Truth.FALSE, reason, unready(state, record, replicas, how)


def _progressing(state: State, record: ModelRecord, replicas: Sequence[Replica]) -> Finding:
    for phase, reason, verb in (
        (Phase.STARTING, "Loading", "loads"),
        (Phase.DRAINING, "Draining", "finishes its requests"),
        (Phase.STOPPING, "Unloading", "unloads"),
    ):
        for replica in replicas:
            if replica.phase is phase:
                return Truth.TRUE, reason, f"revision {replica.spec.revision} {verb}: {replica.why}"
    if record.name in state.fetching and record.desired is not None:
        return Truth.TRUE, "Fetching", f"{record.desired.source.written} is being fetched and checked"
    return Truth.FALSE, "Settled", "nothing is under way"


def _drifted(record: ModelRecord, keep: Replica | None) -> Finding:
    running = keep.running if keep else None
    if running and running.drift:
        return Truth.TRUE, "Changed", running.drift
    known, desired = record.resolution, record.desired
    followed = known and desired and known.written == desired.source.written
    reported = desired and desired.update.apply is not Apply.NEVER
    if known and followed and reported and known.newest not in ("", known.resolved):
        said = f"{known.written} has a newer version; `update: {{apply: rollout}}` would take it"
        return Truth.TRUE, "UpdateFound", said
    return Truth.FALSE, "AsFetched", "what is loaded is what its source meant when it was fetched"


def _degraded(
    record: ModelRecord,
    keep: Replica | None,
    rejection: Rejection | None,
    accepted: Finding,
    hopeless: str,
) -> Finding:
    desired = record.desired
    if desired and keep and keep.launch != desired.launch and hopeless:
        said = (
            f"revision {desired.revision} can not be loaded: {hopeless}; still serving {keep.spec.revision}"
        )
        return Truth.TRUE, "NeverFits", said
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


def _stalled(rejection: Rejection | None, hopeless: str) -> Finding:
    if rejection and rejection.retry_at is None:
        fix = f"; fix: {rejection.fix}" if rejection.fix else ""
        return Truth.TRUE, rejection.reason, f"{rejection.message}{fix}; to try again: {WAY_OUT}"
    if hopeless:
        return Truth.TRUE, "NeverFits", f"{hopeless}; fix: {NO_ROOM_FIX}"
    if rejection:
        return Truth.FALSE, "Trying", "what failed is tried again by itself"
    return Truth.FALSE, "NothingFailed", "nothing that is asked for has failed"
