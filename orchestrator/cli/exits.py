"""Exit codes: what a script can tell from one run of the command line."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    OK = 0
    ERROR = 1
    CHANGES = 2
    UNREACHABLE = 3
    NOT_AS_ASKED = 4
    USAGE = 64
    CONFIG = 78
    INTERRUPTED = 130
    BROKEN_PIPE = 141


# Usage errors are 64 (EX_USAGE), not argparse's 2: 2 is `plan`'s answer "there are changes".
# 78 (EX_CONFIG) is what a service file names in RestartPreventExitStatus.
MEANING: Final[dict[Exit, str]] = {
    Exit.OK: "done; for plan: nothing to change",
    Exit.ERROR: "an error; check, reload: a file has a problem; reload --wait: a model is not as asked",
    Exit.CHANGES: "plan only: there are changes",
    Exit.UNREACHABLE: "no daemon answers",
    Exit.NOT_AS_ASKED: "status --check only: something is wrong, or still under way",
    Exit.USAGE: "the command line itself is wrong",
    Exit.CONFIG: "run only: the daemon's own configuration is broken; starting again will not help",
    Exit.INTERRUPTED: "stopped with Ctrl-C",
    Exit.BROKEN_PIPE: "the reader of the output went away",
}
