from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest

from orchestrator.history.schema import STEPS, TABLES, TEXT_LIMIT, VERSION, columns, row
from orchestrator.values.fact import Fact, RequestFact, Severity
from tests.history.rows import event, request

KINDS = list(TABLES)


@pytest.fixture
def fresh() -> Any:  # noqa: ANN401 (a connection)
    with duckdb.connect() as con:
        for step in STEPS:
            con.execute(step)
        yield con


@pytest.mark.parametrize("kind", KINDS)
def test_the_columns_of_a_table_are_the_fields_of_its_fact(fresh: Any, kind: type[Fact]) -> None:  # noqa: ANN401
    described = fresh.execute(f"describe {TABLES[kind]}").fetchall()
    assert tuple(found[0] for found in described) == columns(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_can_be_named_without_quotes(fresh: Any, kind: type[Fact]) -> None:  # noqa: ANN401
    for name in columns(kind):
        clauses = f"from {TABLES[kind]} where {name} is not null group by {name} order by {name}"
        fresh.execute(f"select max({name}), {name} {clauses}")


def test_there_is_one_step_per_version() -> None:
    assert len(STEPS) == VERSION


def test_a_row_holds_the_values_in_the_order_of_the_columns() -> None:
    fact = request(7, ttft_ms=None)
    named = dict(zip(columns(RequestFact), row(fact), strict=True))
    assert named["ts"] == fact.at.replace(tzinfo=None)
    assert (named["decision"], named["ttft_ms"], named["stream"], named["total_ms"]) == (
        "d7",
        None,
        True,
        101.5,
    )


def test_instants_of_any_zone_become_utc() -> None:
    at = datetime(2026, 11, 20, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert row(request(at=at))[0] == datetime(2026, 11, 19, 20, 0, tzinfo=UTC).replace(tzinfo=None)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError, match="without a time zone"):
        row(event(at=datetime(2026, 11, 20, tzinfo=UTC).replace(tzinfo=None)))


TEXTS = [
    ("plain text is kept", "fast", "fast"),
    ("other scripts are kept", "größe 模型 🦙", "größe 模型 🦙"),
    ("half a surrogate pair becomes a question mark", "a\ud83db", "a?b"),
    ("the longest text is kept whole", "x" * TEXT_LIMIT, "x" * TEXT_LIMIT),
    ("a longer one ends in an ellipsis", "x" * (TEXT_LIMIT + 1), "x" * (TEXT_LIMIT - 1) + "…"),
]


@pytest.mark.parametrize(("said", "given", "kept"), TEXTS, ids=[case[0] for case in TEXTS])
def test_texts(said: str, given: str, kept: str) -> None:
    assert row(event(message=given))[3] == kept, said


def test_a_severity_is_stored_as_its_word() -> None:
    value = row(event(severity=Severity.WARNING))[1]
    assert value == "warning"
    assert type(value) is str


def test_by_model_counts_errors_but_not_clients_that_left(fresh: Any) -> None:  # noqa: ANN401
    facts = [
        request(1, ttft_ms=10.0, total_ms=110.0, queue_ms=10.0, completion_tokens=50),
        request(2, ttft_ms=30.0, total_ms=110.0, queue_ms=10.0, completion_tokens=50),
        request(3, status=500, error="replica_died", ttft_ms=None, completion_tokens=None),
        request(4, status=499, error="client_left", ttft_ms=None, completion_tokens=None),
        request(5, model="", revision="", status=404, error="model_not_found"),
    ]
    appender = fresh.appender("requests")
    appender.append_rows([row(fact) for fact in facts])
    appender.flush()
    found = fresh.execute(
        "select model, revision, requests, errors, ttft_ms, tokens, tokens_per_s from by_model"
    )
    assert found.fetchall() == [("fast", "r1", 4, 1, 20.0, 100, 500.0)]


def test_today_is_the_utc_day_in_every_time_zone(fresh: Any) -> None:  # noqa: ANN401
    now = fresh.execute("select make_timestamp(epoch_us(now()))").fetchall()[0][0].replace(tzinfo=UTC)
    appender = fresh.appender("requests")
    appender.append_rows([row(request(1, at=now)), row(request(2, at=now - timedelta(days=1)))])
    appender.flush()
    for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
        fresh.execute(f"set timezone = '{zone}'")
        assert fresh.execute("select decision from today").fetchall() == [("d1",)]
