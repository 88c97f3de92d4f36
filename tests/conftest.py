"""Figures: what a test measured and does not judge, printed at the end of the run."""

from collections.abc import Callable

import pytest

FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Have a sentence printed at the end of the run, under the test's name."""
    figures = request.config.stash.setdefault(FIGURES, [])
    return lambda sentence: figures.append(f"{request.node.name}: {sentence}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("figures")
        for sentence in figures:
            terminalreporter.line(sentence)
