"""Which SQL may read the history: one statement, made of nothing but selecting.

The statement's type is not enough: since DuckDB 2.0 `WITH x AS (COPY … TO 'file') SELECT 1`
and `WITH x AS (DELETE …) SELECT 1` are typed SELECT, and `EXPLAIN ANALYZE` runs what it
explains. So the parsed tree is looked through, and only what is known to be harmless passes.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

import duckdb

from orchestrator.errors import HistoryError

# All nodes that select.
_NODES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})

# Functions that may stand behind FROM. Others read files, run text as SQL, or show the
# machine (read_csv, glob, query, json_execute_serialized_sql, duckdb_secrets, …).
_TABLE_FUNCTIONS: Final = frozenset({
    "range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree",
    "duckdb_tables", "duckdb_columns", "duckdb_views", "duckdb_types", "duckdb_functions", "duckdb_keywords",
    "pragma_table_info", "pragma_show", "pragma_version", "pragma_database_size",
})  # fmt: skip

# Functions anywhere else that reach out of the query.
_REFUSED: Final = frozenset({
    "getenv", "query", "query_table", "nextval", "currval", "setseed", "write_log", "getvariable",
    "json_execute_serialized_sql", "parse_duckdb_log_message", "read_text", "read_blob", "sleep_ms",
})  # fmt: skip

_EXPLAIN: Final = re.compile(
    r"^(\s|--[^\n]*\n|/\*.*?\*/)*explain\s+(analyze\s+)?(\([^)]*\)\s*)?", re.IGNORECASE | re.DOTALL
)
_PIVOT_FIX: Final = (
    "for a PIVOT name its values: select * from (pivot requests on model in ('a', 'b') using count(*))"
)
_SERIALIZE_SQL: Final = "select json_serialize_sql(?)"

_FIX: Final = "run one SELECT, FROM, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN on the history's own tables"


class Refused(HistoryError):
    pass


def allowed(con: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """Return the one statement in `sql`.

    Raises:
        Refused: it is none, more than one, or does anything but select.
        duckdb.Error: it cannot be parsed.
    """
    statements = con.extract_statements(sql)
    if len(statements) != 1:
        raise Refused(f"only one statement may be run, and these are {len(statements)}", fix=_FIX)
    statement = statements[0]
    body = sql
    if statement.type == duckdb.StatementType.EXPLAIN:
        body = _EXPLAIN.sub("", sql, count=1)
    elif statement.type == duckdb.StatementType.MULTI:
        raise Refused("this stands for several statements", fix=_PIVOT_FIX)
    elif statement.type != duckdb.StatementType.SELECT:
        raise _refused(statement.type.name)
    tree = json.loads(con.execute(_SERIALIZE_SQL, [body]).fetchall()[0][0])
    if tree.get("error"):
        raise Refused("only reading statements may be run", fix=_PIVOT_FIX)
    for found in _forbidden(tree):
        raise _refused(found)
    return statement


def _refused(what: str) -> Refused:
    return Refused(f"{what} is not allowed here: the history can be read, and nothing else", fix=_FIX)


def _forbidden(tree: object) -> Iterator[str]:
    """Yield the name of everything in `tree` that may not run."""
    if isinstance(tree, list):
        for part in tree:
            yield from _forbidden(part)
    if not isinstance(tree, dict):
        return
    kind = tree.get("type")
    if isinstance(kind, str) and kind.endswith(("_NODE", "_STATEMENT")) and kind not in _NODES:
        yield kind.removesuffix("_NODE").removesuffix("_STATEMENT").removesuffix("_QUERY")
    name = tree.get("function_name")
    if isinstance(name, str) and name.lower() in _REFUSED:
        yield f"{name}()"
    source = tree.get("function")
    if kind == "TABLE_FUNCTION" and isinstance(source, dict):
        called = str(source.get("function_name")).lower()
        if called not in _TABLE_FUNCTIONS:
            yield f"{called}()"
    for part in tree.values():
        yield from _forbidden(part)
