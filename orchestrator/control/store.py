"""The authoritative state on disk: accepted documents, stable specs, replicas and their intents.

SQLite in WAL mode with `synchronous=FULL`: what was committed survives a
crash of the daemon and of the machine. The store writes the difference
between two states and nothing else; it decides nothing.
"""

import json
import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import quote

from orchestrator.config.accepted import StoredDocument
from orchestrator.control.statements import statements_of
from orchestrator.control.stored_spec import StoredSpec, spec_from_json
from orchestrator.errors import StateError
from orchestrator.values.catalog import Kind
from orchestrator.values.fleet import Phase, Running
from orchestrator.values.memory import Footprint
from orchestrator.values.state import Resolution, State

log = logging.getLogger(__name__)

FILE: Final = "state.db"
SCHEMA_VERSION: Final = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A replica that an earlier daemon had on its books when it ended without cleaning up."""

    replica: str
    model: str
    revision: str
    engine: str
    phase: Phase
    running: Running | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What an earlier daemon on this state folder left behind."""

    documents: tuple[StoredDocument, ...]
    stable: Mapping[str, StoredSpec]
    leftovers: tuple[Leftover, ...]
    resolutions: Mapping[str, Resolution] = field(default_factory=dict)
    footprints: Mapping[str, Footprint] = field(default_factory=dict)


class Store:
    """One connection; the caller sees to it that one thread at a time uses it."""

    def __init__(self, connection: sqlite3.Connection, config: str, boot: int) -> None:
        self._connection = connection
        self._config = config
        self.boot = boot

    @classmethod
    def open(cls, folder: Path, *, config: Path, now: datetime) -> "Store":
        """Open the state of `folder`, and count one more start of a daemon.

        What was accepted and stable is kept apart for each configuration
        folder: a daemon on another one does not begin with foreign models, and
        a mistyped one forgets nothing.

        A file that is not a database any more is moved aside, never deleted:
        the daemon then starts from the configuration files alone.

        Raises:
            StateError: the folder cannot be written, or a newer version wrote it.
        """
        path = folder / FILE
        try:
            connection = _sound(path, _key(config))
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, sqlite3.DatabaseError) and not _corrupt(error):
                raise _unwritable(path, error) from error
            path.rename(path.with_name(f"{FILE}.corrupt-{now:%Y%m%dT%H%M%SZ}"))
            for extra in ("-wal", "-shm"):
                path.with_name(FILE + extra).unlink(missing_ok=True)
            connection = _connected(path)
        try:
            with connection:
                boot = _meta(connection, "boot", "0")
                connection.execute(
                    "insert into meta values ('boot', ?) on conflict do update set value = excluded.value",
                    (str(int(boot) + 1),),
                )
        except sqlite3.Error as error:
            raise _unwritable(path, error) from error
        return cls(connection, _key(config), int(boot) + 1)

    def recover(self) -> Recovered:
        """Return what the last daemon left, as it was committed."""
        return _recovered(self._connection, self._config)

    def forget_replicas(self) -> None:
        """Take every replica off the books: none of them runs any more.

        A disk that refuses is logged and no more: the next start finds that they are gone.
        """
        try:
            with self._connection:
                self._connection.execute("delete from replicas")
        except sqlite3.Error as error:
            log.warning("%s", _unwritable(Path(FILE), error))

    def save(self, before: State, after: State) -> None:
        """Commit what changed from `before` to `after`, in one transaction; on disk when this returns.

        Raises:
            StateError: nothing was committed.
        """
        statements = statements_of(self._config, before, after)
        if not statements:
            return
        try:
            with self._connection:
                for sql, values in statements:
                    self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise _unwritable(Path(FILE), error) from error

    def close(self) -> None:
        self._connection.close()


def peek(folder: Path, config: Path) -> Recovered:
    """Return what is committed in `folder` without being a daemon: nothing is written, nothing counted.

    Raises:
        StateError: there is a file and it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return Recovered(documents=(), stable={}, leftovers=())
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)
        try:
            return _recovered(connection, _key(config))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StateError(f"the daemon's state cannot be read: {error}", where=str(path)) from error


def _key(config: Path) -> str:
    return str(config.resolve())


def _recovered(connection: sqlite3.Connection, config: str) -> Recovered:
    documents = tuple(
        StoredDocument(kind=Kind(kind), name=name, path=path, text=text, generation=generation)
        for kind, name, path, text, generation in connection.execute(
            "select kind, name, path, text, generation from documents where folder = ? order by kind, name",
            (config,),
        )
    )
    stable = {
        model: spec_from_json(text)
        for model, text in connection.execute("select model, spec from stable where folder = ?", (config,))
    }
    leftovers = tuple(
        Leftover(
            replica=replica,
            model=model,
            revision=revision,
            engine=engine,
            phase=Phase(phase),
            running=Running(replica=replica, socket=socket, pid=pid or 0, pid_started=started or 0.0)
            if socket
            else None,
        )
        for replica, model, revision, engine, phase, socket, pid, started in connection.execute(
            "select id, model, revision, engine, phase, socket, pid, pid_started from replicas"
        )
    )
    resolutions = {
        model: Resolution(written=written, resolved=resolved, newest=newest)
        for model, written, resolved, newest in connection.execute(
            "select model, written, resolved, newest from resolutions where folder = ?", (config,)
        )
    }
    footprints = {
        launch: Footprint(
            estimated=json.loads(estimated),
            measured=json.loads(measured),
            load_s=load_s,
            engine_version=version,
            exclusive=exclusive,
        )
        for launch, estimated, measured, load_s, version, exclusive in connection.execute(
            "select launch, estimated, measured, load_s, engine_version, exclusive from footprints"
        )
    }
    return Recovered(
        documents=documents,
        stable=stable,
        leftovers=leftovers,
        resolutions=resolutions,
        footprints=footprints,
    )


def _sound(path: Path, config: str) -> sqlite3.Connection:
    """Return a connection to a file whose rows can all be read: damage shows only where it is looked at."""
    connection = _connected(path)
    try:
        _check(connection)
        _recovered(connection, config)
    except (sqlite3.DatabaseError, ValueError, KeyError, TypeError):
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    verdict = connection.execute("pragma quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise ValueError(verdict)


def _connected(path: Path) -> sqlite3.Connection:
    # The loop hands the connection to one thread of its own.
    connection = sqlite3.connect(path, timeout=5, check_same_thread=False)
    path.chmod(0o600)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.executescript(resources.files("orchestrator.control").joinpath("schema.sql").read_text())
    version = _meta(connection, "schema", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        connection.close()
        raise StateError(
            f"a newer version of the daemon (schema {version}) wrote this state",
            where=str(path),
            fix="run that version, or give this one a state folder of its own: --state DIR",
        )
    with connection:
        connection.execute("insert or ignore into meta values ('schema', ?)", (SCHEMA_VERSION,))
    return connection


def _meta(connection: sqlite3.Connection, key: str, default: str) -> str:
    row = connection.execute("select value from meta where key = ?", (key,)).fetchone()
    return str(row[0]) if row else default


def _corrupt(error: sqlite3.DatabaseError) -> bool:
    # Text that is no UTF-8 comes from Python, without a code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def _unwritable(path: Path, error: sqlite3.Error) -> StateError:
    return StateError(
        f"the daemon's state cannot be written: {error}",
        where=str(path),
        fix="make room on the disk and see that the folder belongs to the daemon's user",
    )
