"""The live file: open it, append to it, make it whole. Runs in the keeper, never in the daemon."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb

from orchestrator.errors import HistoryError
from orchestrator.history.faults import StoreNewer, StoreUnavailable, explain
from orchestrator.history.files import LIVE, make_private
from orchestrator.history.schema import STEPS, TABLES, VERSION, Cell

# The table, and the cells in the order of its columns.
Row = tuple[str, tuple[Cell, ...]]

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "threads": 1,
    # DuckDB would take 80 % of a machine whose memory belongs to models.
    "memory_limit": "256MB",
    "temp_directory": "",
    # What the duckdb 1.5 command line and notebooks can read as well.
    "storage_compatibility_version": "v1.5.0",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # Never by itself: between two checkpoints the main file does not change, so it can be copied.
    "checkpoint_threshold": "1TB",
}

# What DuckDB raises for a row that can never be stored, however often it is tried.
_ROW_ERRORS: Final = (
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.ProgrammingError,
    duckdb.NotSupportedError,
    TypeError,
    ValueError,
    OverflowError,
)
# After these the database answers nothing any more until it is opened again.
_FATAL: Final = (duckdb.FatalException, duckdb.InternalException)

_VERSION_SQL: Final = "select max(version) from schema_version"
_HAS_VERSION_SQL: Final = "select count(*) from duckdb_tables() where table_name = 'schema_version'"
_COUNT_SQL: Final = ("select count(*) from requests", "select count(*) from events")
_STAMP_SQL: Final = "insert into schema_version values (?, ?)"


class Store:
    """The live file of one folder, open and locked until `close`. For one thread only."""

    def __init__(self, folder: Path, now: datetime) -> None:
        """Open `<folder>/live.duckdb`, made with its folder where missing, at the newest schema.

        Raises:
            StoreUnavailable, StoreLocked, StoreNewer, StoreDamaged: see faults.
        """
        self.path = folder / LIVE
        self.broken = False
        self.refusal = ""
        self._log_private = False
        self._appenders: dict[str, duckdb.Appender] = {}
        make_private(folder)
        with contextlib.suppress(FileNotFoundError):
            # A kill between creating the file and its first write leaves 0 bytes, which DuckDB refuses.
            if self.path.stat().st_size == 0:
                self.path.unlink()
        try:
            self._con = duckdb.connect(self.path, config=_CONFIG)
        except (duckdb.Error, RuntimeError) as cause:
            raise explain(cause, self.path) from cause
        try:
            self._con.execute("set enable_progress_bar = false")
            self._upgrade(now)
            self._inode = self._private()
            self._start()
        except duckdb.Error as cause:
            self.close()
            raise explain(cause, self.path) from cause
        except OSError as cause:
            self.close()
            raise explain(cause, self.path) from cause
        except HistoryError:
            self.close()
            raise

    def rows(self) -> int:
        """Return how many facts the file holds; from its metadata, so at once."""
        return sum(self._one(sql) for sql in _COUNT_SQL)

    def append(self, rows: Sequence[Row]) -> int:
        """Store all of `rows` in one transaction, on disk when this returns; return how many could not be.

        A row that DuckDB refuses is left out and counted; the others are stored. On a
        fault nothing of `rows` is stored, and `broken` says whether the file must be opened again.
        """
        self._check()
        try:
            self._commit(rows)
        except _ROW_ERRORS:
            self._restart()
            good = [row for row in rows if self._fits(row)]
            self._guarded_commit(good)
            return len(rows) - len(good)
        except duckdb.Error as cause:
            raise self._fault(cause) from cause
        return 0

    def checkpoint(self) -> None:
        """Bring every stored row into the main file, which then stays as it is until the next call."""
        self._check()
        try:
            self._con.execute("checkpoint")
        except duckdb.Error as cause:
            raise self._fault(cause) from cause
        self._log_private = False  # the log is gone; the next one is a new file

    def close(self) -> None:
        """Give the file and its lock back; rows already stored stay stored whatever happens here."""
        self._drop_appenders()
        with contextlib.suppress(duckdb.Error):
            self._con.close()

    def _upgrade(self, now: datetime) -> None:
        found = 0
        if self._one(_HAS_VERSION_SQL):
            found = self._one(_VERSION_SQL)
        if found > VERSION:
            raise StoreNewer(
                f"the history has schema {found}, this version knows up to {VERSION}",
                where=str(self.path),
                fix="run the newer version again, or move the file away to start a new history",
            )
        if found == VERSION:
            return
        self._con.execute("begin")
        for version in range(found, VERSION):
            self._con.execute(STEPS[version])
            self._con.execute(_STAMP_SQL, [version + 1, now.astimezone(UTC).replace(tzinfo=None)])
        self._con.execute("commit")
        # Definitions left in the log have made files unopenable after a kill (duckdb issues 18732, 19712).
        self._con.execute("checkpoint")

    def _one(self, sql: str) -> int:
        found = self._con.execute(sql).fetchall()
        return int(found[0][0] or 0)

    def _start(self) -> None:
        self._appenders = {table: self._con.appender(table) for table in TABLES.values()}

    def _drop_appenders(self) -> None:
        """Let them go empty: one that still holds rows tries to store them when it is collected."""
        for appender in self._appenders.values():
            with contextlib.suppress(duckdb.Error):
                appender.clear()
        self._appenders = {}

    def _restart(self) -> None:
        """Forget what the appenders and the transaction hold."""
        self._drop_appenders()
        with contextlib.suppress(duckdb.Error):
            self._con.execute("rollback")
        with contextlib.suppress(duckdb.Error):
            self._start()

    def _fill(self, rows: Sequence[Row]) -> None:
        self._con.execute("begin")
        for table, appender in self._appenders.items():
            mine = [cells for name, cells in rows if name == table]
            if mine:
                appender.append_rows(mine)
                appender.flush()

    def _commit(self, rows: Sequence[Row]) -> None:
        self._fill(rows)
        self._con.execute("commit")
        if not self._log_private:
            self._log_private = self._make_log_private()

    def _guarded_commit(self, rows: Sequence[Row]) -> None:
        try:
            self._commit(rows)
        except duckdb.Error as cause:
            raise self._fault(cause) from cause

    def _fits(self, row: Row) -> bool:
        """Say whether `row` alone can be stored, by storing it and taking that back."""
        try:
            self._fill([row])
        except _ROW_ERRORS as cause:
            self.refusal = str(cause).partition("\n")[0]
            return False
        except duckdb.Error as cause:
            raise self._fault(cause) from cause
        finally:
            self._restart()
        return True

    def _fault(self, cause: duckdb.Error) -> HistoryError:
        self.broken = isinstance(cause, _FATAL) or not isinstance(cause, duckdb.OperationalError)
        self._restart()
        return explain(cause, self.path)

    def _private(self) -> int:
        self.path.chmod(0o600)
        return self.path.stat().st_ino

    def _make_log_private(self) -> bool:
        """Close the log to others: DuckDB makes it as the umask says (the folder is private anyway)."""
        with contextlib.suppress(OSError):
            self.path.with_name(f"{LIVE}.wal").chmod(0o600)
            return True
        return False

    def _check(self) -> None:
        """Notice that the file was removed or replaced: DuckDB would go on writing where nobody looks."""
        try:
            same = self.path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            self.broken = True
            raise StoreUnavailable(
                "the history file was removed or replaced while in use",
                where=str(self.path),
                fix="a new one is started by itself; stop the daemon before you move it",
            )
