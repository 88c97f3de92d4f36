"""Figures: what a test measured and does not judge, printed at the end of the run."""

import os
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Have a sentence printed at the end of the run, under the test's name."""
    return lambda sentence: request.node.user_properties.append(("figure", sentence))


ENVIRONMENT = dict(os.environ)


def pytest_collection_finish() -> None:
    """Take back what modules that are meant for child processes have set on being imported."""
    os.environ.clear()
    os.environ.update(ENVIRONMENT)


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Have every test begin with the environment of the run."""
    yield
    if os.environ != ENVIRONMENT:
        kept = os.environ.get("PYTEST_CURRENT_TEST")
        os.environ.clear()
        os.environ.update(ENVIRONMENT | ({"PYTEST_CURRENT_TEST": kept} if kept else {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    # The report is all that comes back from a test that ran in another process.
    figures = [
        f"{report.nodeid.rpartition('::')[2]}: {value}"
        for report in reports
        for name, value in report.user_properties
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("figures")
        for sentence in figures:
            terminalreporter.line(sentence)
