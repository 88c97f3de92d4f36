"""The state as JSON, for the admin API: what `status`, `describe` and `plan` show."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from orchestrator.control.headway import Headway
from orchestrator.decide.budget import charged, need
from orchestrator.decide.diff import Change, model_fields
from orchestrator.decide.preview import Step
from orchestrator.decide.serving import serving
from orchestrator.values.catalog import Held, Problem
from orchestrator.values.demand import Demand
from orchestrator.values.fact import LifecycleFact
from orchestrator.values.fleet import Replica
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import ModelRecord, State

Json = dict[str, Any]


Headways = Callable[[str], Headway | None]


def models(state: State, demand: Demand, headway: Headways) -> list[Json]:
    """Return every model, by name."""
    return [model(state, name, demand, headway) for name in sorted(state.models)]


def model(state: State, name: str, demand: Demand, headway: Headways) -> Json:
    """Return one model: its pointers, conditions and replicas, and what it takes."""
    record = state.models[name]
    replicas = [replica for replica in state.fleet.replicas.values() if replica.model == name]
    document, desired = record.document, record.desired
    keep = serving(record, replicas)
    running = {replica.launch for replica in replicas if replica is keep}
    return {
        "name": record.name,
        "path": document.path if document else "",
        "engine": document.value.engine if document else "",
        "source": document.value.source.written if document else "",
        "state": str(document.value.state) if document else "removed",
        "load": str(document.value.load) if document else "",
        "generation": document.generation if document else 0,
        "desired": desired.revision if desired else None,
        "attempted": _attempted(record, replicas),
        "stable": record.stable.revision if record.stable else None,
        "rejected": [
            {
                "revision": rejection.revision,
                "reason": rejection.reason,
                "message": rejection.message,
                "terminal": rejection.terminal,
                "fix": rejection.fix,
                "retry_at": _instant(rejection.retry_at),
                "failures": rejection.failures,
            }
            for launch, rejection in record.rejected.items()
            if launch not in running
        ],
        "serving": {"replica": keep.id, "revision": keep.spec.revision} if keep else None,
        "conditions": [
            {
                "type": str(condition.type),
                "status": str(condition.status),
                "reason": condition.reason,
                "message": condition.message,
                "observed_generation": condition.observed_generation,
                "since": _instant(condition.since),
            }
            for condition in record.conditions.values()
        ],
        "replicas": [_replica(replica, demand.leases) for replica in replicas],
        "takes": _takes(state, desired),
        "fetch": _fetch(headway(name)),
        "waiting": demand.waiting[name].count if name in demand.waiting else 0,
    }


def _takes(state: State, desired: ModelSpec | None) -> Json | None:
    """Return the memory and the load time of what the file asks for; None before anything is known."""
    if desired is None or desired.launch not in state.footprints:
        return None
    known = state.footprints[desired.launch]
    return {
        "need": dict(need(state, desired)),
        "estimated": dict(known.estimated),
        "measured": dict(known.measured),
        "load_s": known.load_s,
        "engine_version": known.engine_version,
    }


def _fetch(headway: Headway | None) -> Json | None:
    if headway is None:
        return None
    return {
        "doing": headway.news.doing,
        "done_bytes": headway.news.done_bytes,
        "total_bytes": headway.news.total_bytes,
        "bytes_per_s": round(headway.rate),
        "left_s": None if headway.left_s is None else round(headway.left_s, 1),
    }


def memory(state: State) -> Json:
    """Return every pool: what there is, what others take, what replicas may take and are charged."""
    taken = charged(state)
    return {
        name: {
            "total_bytes": pool.total,
            "reserve_bytes": pool.reserve,
            "outside_bytes": pool.outside,
            "limit_bytes": pool.limit,
            "room_bytes": pool.room,
            "charged_bytes": taken.get(name, 0),
        }
        for name, pool in sorted(state.memory.pools.items())
    }


def spec_fields(record: ModelRecord) -> dict[str, str]:
    """Return the fields of the file in force, defaults filled in; {} once it is gone."""
    return model_fields(record.document.value) if record.document else {}


def policies(state: State) -> list[Json]:
    """Return every routing policy, by name."""
    return [
        {
            "name": name,
            "default": doc.value.default,
            "otherwise": list(doc.value.otherwise),
            "fallback": list(doc.value.fallback),
            "rules": len(doc.value.rules),
            "tiers": [str(tier) for tier in doc.value.tiers],
            "path": doc.path,
        }
        for name, doc in sorted(state.catalog.policies.items())
    ]


def problems(found: Iterable[Problem]) -> list[Json]:
    """Return the problems as they were found."""
    return [{f.name: getattr(problem, f.name) for f in fields(Problem)} for problem in found]


def held(found: Iterable[Held]) -> list[Json]:
    """Return the disappearances that are not obeyed."""
    return [{"path": item.path, "why": item.why, "since": _instant(item.since)} for item in found]


def event(fact: LifecycleFact) -> Json:
    """Return one lifecycle fact."""
    return {
        "at": _instant(fact.at),
        "severity": str(fact.severity),
        "reason": fact.reason,
        "message": fact.message,
        "model": fact.model,
        "revision": fact.revision,
        "replica": fact.replica,
        "generation": fact.generation,
    }


def change(item: Change) -> Json:
    """Return one change of a plan."""
    return {
        "kind": str(item.kind),
        "name": item.name,
        "class": str(item.change_class),
        "field": item.field,
        "old": item.old,
        "new": item.new,
        "path": item.path,
        "line": item.line,
    }


def step(item: Step) -> Json:
    """Return one step of a plan."""
    return {
        "action": item.action,
        "model": item.model,
        "revision": item.revision,
        "replica": item.replica or None,
        "why": item.why,
        "memory": {"before": dict(item.before), "peak": dict(item.peak), "after": dict(item.after)},
        "takes_s": item.takes_s,
        "interrupts": item.interrupts,
        "unavailable_s": item.unavailable_s,
    }


def failed(state: State) -> list[Json]:
    """Return the models whose file asks for what would not load, by name."""
    by_model = state.fleet.by_model()
    found = []
    for name, record in sorted(state.models.items()):
        rejection = record.rejected.get(record.desired.launch) if record.desired else None
        keep = serving(record, by_model.get(name, []))
        if rejection is None or (keep and record.desired and keep.launch == record.desired.launch):
            continue
        found.append(
            {
                "model": name,
                "revision": rejection.revision,
                "message": rejection.message,
                "fix": rejection.fix,
                "retry_at": _instant(rejection.retry_at),
            }
        )
    return found


def _replica(replica: Replica, leases: Mapping[str, int]) -> Json:
    running = replica.running
    return {
        "id": replica.id,
        "revision": replica.spec.revision,
        "phase": str(replica.phase),
        "pid": running.pid if running else None,
        "memory_bytes": running.memory_bytes if running else 0,
        "gpu_bytes": dict(running.gpu_bytes) if running else {},
        "leases": leases.get(replica.id, 0),
        "since": _instant(replica.since),
        "why": replica.why,
    }


def _attempted(record: ModelRecord, replicas: Sequence[Replica]) -> str | None:
    """Return the revision last started; a launch that nothing remembers any more has none."""
    specs = [replica.spec for replica in replicas]
    specs += [spec for spec in (record.desired, record.stable) if spec]
    known = {spec.launch: spec.revision for spec in specs}
    known |= {launch: rejection.revision for launch, rejection in record.rejected.items()}
    return known.get(record.attempted) if record.attempted else None


def _instant(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") if at else None
