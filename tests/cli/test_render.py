"""What people read, compared with what was looked at and found pleasant: `golden/*.txt`.

After a change that is meant: `UPDATE_GOLDEN=1 pytest tests/cli/test_render.py`, then look at the diff.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import wire
from orchestrator.cli.client import Admin
from orchestrator.cli.show_describe import describe_lines
from orchestrator.cli.show_doctor import doctor_lines
from orchestrator.cli.show_plan import plan_lines
from orchestrator.cli.show_reload import reload_lines
from orchestrator.cli.show_status import status_lines
from orchestrator.cli.terminal import Terminal
from tests.cli import payloads, payloads_memory, payloads_plan
from tests.cli.admin_server import Script
from tests.cli.conftest import Shell

GOLDEN = Path(__file__).parent / "golden"
NOW = payloads.NOW
Show = Callable[[Admin, Terminal], list[str]]


def _status(admin: Admin, terminal: Terminal) -> list[str]:
    return status_lines(admin.status(), terminal, NOW)


def _describe(admin: Admin, terminal: Terminal) -> list[str]:
    return describe_lines(admin.describe("quality"), terminal, NOW)


def _plan(admin: Admin, terminal: Terminal) -> list[str]:
    return plan_lines(admin.plan(None), terminal)


def _reload(admin: Admin, terminal: Terminal) -> list[str]:
    return reload_lines(admin.reload(5), terminal, NOW, waited=True)


def _doctor(admin: Admin, terminal: Terminal) -> list[str]:
    return doctor_lines(admin.doctor(), terminal)


UNSETTLED = payloads.reloaded(
    settled=False, models=[payloads.model(), payloads.swapping()], problems=[payloads.PROBLEM]
)
UNREACHABLE = payloads.reloaded(models=[payloads.model(), payloads_memory.unreachable()])
NO_PLAN = payloads_plan.empty()
FAILED: list[wire.Failed] = [
    {
        "model": "fast",
        "revision": payloads.NEW,
        "message": "source 'file:x.gguf' is no model file",
        "fix": "name a GGUF file",
        "retry_at": None,
    },
    {
        "model": "quality",
        "revision": payloads.NEW,
        "message": "it did not get ready within 60 s",
        "fix": "",
        "retry_at": "2026-11-20T10:00:00.000+00:00",
    },
]
Case = tuple[str, str, object, Show]
CASES: list[Case] = [
    ("status_calm", "GET /v1/status", payloads.calm(), _status),
    ("status_busy", "GET /v1/status", payloads.busy(), _status),
    ("status_mended", "GET /v1/status", payloads.mended(), _status),
    ("status_empty", "GET /v1/status", payloads.status(policies=[]), _status),
    ("status_memory", "GET /v1/status", payloads_memory.mixed(), _status),
    ("status_crowded", "GET /v1/status", payloads_memory.crowded(), _status),
    ("status_many", "GET /v1/status", payloads_memory.many(), _status),
    ("describe", "GET /v1/models/quality", payloads.described(), _describe),
    ("describe_memory", "GET /v1/models/quality", payloads_memory.described(), _describe),
    ("describe_resting", "GET /v1/models/quality", payloads_memory.described_resting(), _describe),
    ("doctor", "GET /v1/doctor", payloads_memory.findings(), _doctor),
    ("plan_in_place", "POST /v1/plan", payloads_plan.in_place(), _plan),
    ("plan", "POST /v1/plan", payloads_plan.plan(), _plan),
    ("plan_empty", "POST /v1/plan", NO_PLAN, _plan),
    ("plan_failed", "POST /v1/plan", NO_PLAN | {"failed": FAILED}, _plan),
    ("plan_problem", "POST /v1/plan", payloads_plan.plan() | {"problems": [payloads.PROBLEM]}, _plan),
    ("reload_settled", "POST /v1/reload", payloads.reloaded(), _reload),
    ("reload_rejected", "POST /v1/reload", payloads.reloaded(models=[payloads.rejected()]), _reload),
    ("reload_unreachable", "POST /v1/reload", UNREACHABLE, _reload),
    ("reload_unsettled", "POST /v1/reload", UNSETTLED, _reload),
]
WIDTHS = [80, 100, 120, None]


@pytest.mark.parametrize("width", WIDTHS, ids=["80", "100", "120", "piped"])
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_the_page_is_the_golden_one(case: Case, width: int | None, shell: Shell, daemon: Script) -> None:
    name, path, answer, show = case
    daemon.answers[path] = (200, answer)
    out = io.StringIO()
    terminal = Terminal(out=out, width=width)
    for line in show(Admin(shell.home / "admin.sock"), terminal):
        terminal.line(line)
    page = out.getvalue()
    golden = GOLDEN / f"{name}_{width or 'piped'}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(page, encoding="utf-8")
    assert page == golden.read_text(encoding="utf-8")
    if width is not None:
        tables = [line for line in page.splitlines() if line.startswith(("MODEL ", "fast ", "big "))]
        assert all(len(line) <= width for line in tables)


PAGES: dict[str, Callable[[Terminal], list[str]]] = {
    "status busy": lambda terminal: status_lines(payloads.busy(), terminal, NOW),
    "status memory": lambda terminal: status_lines(payloads_memory.mixed(), terminal, NOW),
    "status crowded": lambda terminal: status_lines(payloads_memory.crowded(), terminal, NOW),
    "describe": lambda terminal: describe_lines(payloads_memory.described(), terminal, NOW),
    "plan": lambda terminal: plan_lines(payloads_plan.in_place(), terminal),
    "doctor": lambda terminal: doctor_lines(payloads_memory.findings(), terminal),
}


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("page", PAGES)
def test_colour_changes_nothing_but_the_colour(page: str, width: int) -> None:
    plain = Terminal(out=io.StringIO(), width=width)
    coloured = Terminal(out=io.StringIO(), width=width, colour=True)
    without, with_colour = PAGES[page](plain), PAGES[page](coloured)
    assert "\x1b[" in "".join(with_colour)
    assert [_bare(line) for line in with_colour] == [line.rstrip() for line in without]


def _bare(line: str) -> str:
    bare, escape = "", False
    for char in line:
        if char == "\x1b":
            escape = True
        elif escape:
            escape = char != "m"
        else:
            bare += char
    return bare.rstrip()


def test_without_utf_8_a_page_is_ascii_and_still_aligned() -> None:
    out = io.StringIO()
    terminal = Terminal(out=out, unicode=False, width=120)
    for lines in (
        status_lines(payloads.busy(), terminal, NOW),
        plan_lines(payloads_plan.plan(), terminal),
        describe_lines(payloads.described(), terminal, NOW),
    ):
        for line in lines:
            terminal.line(line)
    page = out.getvalue()
    assert page.isascii()
    head, *rows = (line for line in page.splitlines() if line.startswith(("MODEL ", "fast ", "coder ")))
    at = head.index("SOURCE")
    assert {row[at - 2 : at] for row in rows} == {"  "}


@pytest.mark.parametrize("page", PAGES)
def test_without_utf_8_every_page_is_ascii(page: str) -> None:
    out = io.StringIO()
    terminal = Terminal(out=out, unicode=False, width=100)
    for line in PAGES[page](terminal):
        terminal.line(line)
    assert out.getvalue().isascii()
