"""Figures: what a test measured and does not judge, printed at the end of the run."""

from collections.abc import Callable

import pytest


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Have a sentence printed at the end of the run, under the test's name."""
    return lambda sentence: request.node.user_properties.append(("figure", sentence))


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
