"""Why a child ended: one row per way of ending."""

import signal

import pytest

from orchestrator.engines.children.cause import cause_of_end
from orchestrator.workers.frames import EXIT_BROKEN, EXIT_ORPHANED

CASES = [
    (0, "", "ended by itself with exit code 0", ""),
    (3, "error: no", "ended by itself with exit code 3; its log ends with: error: no", ""),
    (EXIT_ORPHANED, "", "ended because it saw its parent gone", ""),
    (EXIT_BROKEN, "rc 1", "gave up: decoding failed again and again; its log ends with: rc 1", ""),
    (
        -signal.SIGKILL,
        "not of interest",
        "killed (SIGKILL); the kernel's out-of-memory killer does that too: see dmesg",
        "lower `context`",
    ),
    (-signal.SIGTERM, "not of interest", "ended by SIGTERM", ""),
    (-signal.SIGBUS, "", "crashed (SIGBUS); was the model file changed in place?", "rename it into place"),
    (
        -signal.SIGABRT,
        "GGML_ASSERT(x) failed",
        "crashed (SIGABRT); its log ends with: GGML_ASSERT(x) failed",
        "sha",
    ),
    (-signal.SIGSEGV, "", "crashed (SIGSEGV)", "sha256sum"),
    (-signal.SIGILL, "", "crashed (SIGILL): this processor lacks an instruction", "GGML_NATIVE=OFF"),
    (-signal.SIGFPE, "", "ended by SIGFPE", ""),
    (-99, "", "ended by signal 99", ""),
]


@pytest.mark.parametrize(("returncode", "line", "what", "fix"), CASES)
def test_every_end_has_its_sentence(returncode: int, line: str, what: str, fix: str) -> None:
    cause = cause_of_end(returncode, line)
    assert cause.what.startswith(what)
    assert fix in cause.fix
    assert "not of interest" not in cause.what
