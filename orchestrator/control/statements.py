"""The difference between two states as SQL."""

import json
from collections.abc import Iterator

from orchestrator.config.accepted import store
from orchestrator.control.stored_spec import spec_to_json
from orchestrator.values.fleet import Replica
from orchestrator.values.state import State

Statement = tuple[str, tuple[object, ...]]


def statements_of(config: str, before: State, after: State) -> list[Statement]:
    """Return what has to be executed, in one transaction; nothing where nothing that is kept has changed.

    Args:
        config: the configuration folder that documents belong to.
        before: what is in the database.
        after: what should be.
    """
    return [
        *_documents(config, before, after),
        *_stable(config, before, after),
        *_resolutions(config, before, after),
        *_footprints(before, after),
        *_replicas(before, after),
    ]


def _documents(config: str, before: State, after: State) -> Iterator[Statement]:
    if before.catalog is after.catalog:
        return
    old = {(doc.kind, doc.name): doc for doc in store(before.catalog)}
    new = {(doc.kind, doc.name): doc for doc in store(after.catalog)}
    for key in old.keys() - new.keys():
        yield "delete from documents where folder = ? and kind = ? and name = ?", (config, *key)
    for key, doc in new.items():
        if old.get(key) != doc:
            values = (config, doc.kind, doc.name, doc.path, doc.text, doc.generation)
            yield "insert or replace into documents values (?, ?, ?, ?, ?, ?)", values


def _stable(config: str, before: State, after: State) -> Iterator[Statement]:
    if before.models is after.models:
        return
    for name in before.models.keys() - after.models.keys():
        yield "delete from stable where folder = ? and model = ?", (config, name)
    for name, record in after.models.items():
        old = before.models.get(name)
        if record.stable is not None and (old is None or old.stable != record.stable):
            yield (
                "insert or replace into stable values (?, ?, ?)",
                (config, name, spec_to_json(record.stable)),
            )
        elif record.stable is None and old is not None and old.stable is not None:
            yield "delete from stable where folder = ? and model = ?", (config, name)


def _resolutions(config: str, before: State, after: State) -> Iterator[Statement]:
    if before.models is after.models:
        return
    for name in before.models.keys() - after.models.keys():
        yield "delete from resolutions where folder = ? and model = ?", (config, name)
    for name, record in after.models.items():
        old = before.models.get(name)
        known = record.resolution
        if known is not None and (old is None or old.resolution != known):
            values = (config, name, known.written, known.resolved, known.newest)
            yield "insert or replace into resolutions values (?, ?, ?, ?, ?)", values


def _footprints(before: State, after: State) -> Iterator[Statement]:
    if before.footprints is after.footprints:
        return
    for launch, footprint in after.footprints.items():
        if before.footprints.get(launch) != footprint:
            values = (
                launch,
                json.dumps(dict(footprint.estimated)),
                json.dumps(dict(footprint.measured)),
                footprint.load_s,
                footprint.engine_version,
                footprint.exclusive,
            )
            yield (
                "insert or replace into footprints values (?, ?, ?, ?, ?, ?, date())",
                values,
            )


def _replicas(before: State, after: State) -> Iterator[Statement]:
    old, new = before.fleet.replicas, after.fleet.replicas
    for name in old.keys() - new.keys():
        yield "delete from replicas where id = ?", (name,)
    for name, replica in new.items():
        row = _row(replica)
        if name not in old or _row(old[name]) != row:
            yield "insert or replace into replicas values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row


def _row(replica: Replica) -> tuple[object, ...]:
    running = replica.running
    return (
        replica.id,
        replica.model,
        replica.spec.revision,
        replica.spec.engine,
        str(replica.phase),
        replica.why,
        replica.since.isoformat(),
        running.socket if running else None,
        running.pid if running else None,
        running.pid_started if running else None,
    )
