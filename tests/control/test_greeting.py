"""What the daemon says once it is ready."""

from datetime import UTC, datetime
from pathlib import Path

from orchestrator.control.greeting import greeting, hints
from orchestrator.control.operations import Facts
from orchestrator.values.catalog import Problem
from tests.builders import premises
from tests.gateway.fakes import route, table

FACTS = Facts(
    version="1",
    pid=1,
    started_at=datetime(2026, 11, 20, tzinfo=UTC),
    address="http://127.0.0.1:11435",
    config_folder=Path("/etc/orchestrator"),
    state_folder=Path("/var/lib/orchestrator"),
    premises=premises(),
)
BODY = """'{"model": "fast", "messages": [{"role": "user", "content": "Is 7 greater than 3?"}]}'"""
READY, ALSO = route("quality", "/run/q.sock"), route("fast", "/run/f.sock")
WAITING = route("third", unready="it was given up: there is no such file")


def test_the_first_line_has_the_address_and_the_models_in_order() -> None:
    assert greeting(FACTS, table(READY, ALSO), (), took_s=1.26) == [
        "ready: http://127.0.0.1:11435 after 1.3 s; models: fast, quality"
    ]


def test_models_that_do_not_serve_say_why() -> None:
    assert greeting(FACTS, table(WAITING, READY), (), took_s=0) == [
        "ready: http://127.0.0.1:11435 after 0.0 s; models: quality",
        "not ready: third: it was given up: there is no such file",
    ]


def test_models_that_rest_until_they_are_asked_for_are_nothing_to_worry_about() -> None:
    resting = route("big", unready="it is loaded when a request asks for it", on_demand=True)
    hopeless = route("huge", unready="it needs 9 GiB", on_demand=True, stalled=True)
    assert greeting(FACTS, table(resting, hopeless, READY), (), took_s=0) == [
        "ready: http://127.0.0.1:11435 after 0.0 s; models: quality; on demand: big",
        "not ready: huge: it needs 9 GiB",
    ]


def test_a_daemon_without_models_says_so() -> None:
    assert greeting(FACTS, table(), (), took_s=0) == [
        "ready: http://127.0.0.1:11435 after 0.0 s; models: none yet"
    ]


def test_what_is_not_accepted_is_told_up_to_a_few() -> None:
    problems = [Problem(path=f"models.d/m{n}.yaml", line=1, column=2, what="no") for n in range(7)]
    told = greeting(FACTS, table(), problems, took_s=0)
    assert told[1] == "not accepted: models.d/m0.yaml:1:2: no"
    assert told[5:] == ["not accepted: models.d/m4.yaml:1:2: no", "and 2 more problems"]


def test_a_program_that_is_not_on_the_path_is_called_by_its_place() -> None:
    told = hints(FACTS, table(), state_folder=None, program=".venv/bin/orchestrator")
    assert told[1] == "  .venv/bin/orchestrator status"


def test_hints_are_commands_that_work_as_they_stand() -> None:
    assert hints(FACTS, table(READY, ALSO), state_folder=None) == [
        "try next, in another terminal:",
        "  orchestrator status",
        "  orchestrator chat",
        f"  curl http://127.0.0.1:11435/v1/chat/completions -H 'Content-Type: application/json' -d {BODY}",
        "  orchestrator status --watch    # and edit a file in /etc/orchestrator/models.d",
    ]


def test_hints_name_a_model_that_serves() -> None:
    told = hints(FACTS, table(route("a"), READY), state_folder=None)
    assert '"model": "quality"' in told[3]


def test_a_state_folder_of_its_own_is_named_and_quoted() -> None:
    told = hints(FACTS, table(), state_folder=Path("/srv/my state"))
    assert told[1] == "  orchestrator status --state '/srv/my state'"
    assert told[2] == "  orchestrator chat --state '/srv/my state'"
    assert told[4].startswith("  orchestrator status --state '/srv/my state' --watch")
    assert '"model": "MODEL"' in told[3]
