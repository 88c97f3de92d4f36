"""When to try again, and when to stop trying."""

from datetime import datetime, timedelta
from typing import Final

from orchestrator.values.state import Rejection

# Guesses that follow common practice, not measurements.
CAP_S: Final = 300.0
MOST_DOUBLINGS: Final = 10  # 1024 s, beyond the cap
LASTING_CAP_S: Final = 30.0  # a server that somebody starts again is found within this
STABLE_S: Final = 60.0
LOOP_FAILURES: Final = 5
LOOP_WINDOW_S: Final = 600.0


def delay_s(failures: int, draw: float, *, was_ready: bool) -> float:
    """Return the wait before try number `failures` + 1, in seconds.

    The first crash of a replica that was ready is answered at once: somebody
    is waiting for it. Later waits double up to CAP_S, each scaled into
    [0.5, 1) by `draw`, so that many models do not retry together.
    """
    if was_ready and failures <= 1:
        return 0.0
    # A float overflows after a thousand doublings, and a load that fails slowly may get there.
    doublings = min(failures - 1, MOST_DOUBLINGS)
    return float(min(CAP_S, 2.0**doublings) * (0.5 + draw / 2))


def reject(
    earlier: Rejection | None, now: datetime, draw: float, *, new: Rejection, ready_for_s: float | None
) -> Rejection:
    """Count `new` on top of `earlier`.

    Args:
        earlier: the launch's rejection so far, if any.
        now: the instant of the failure.
        draw: see delay_s.
        new: what happened; its counters and times are filled in here.
        ready_for_s: how long the replica had been ready, None if it never was.
    """
    stable = ready_for_s is not None and ready_for_s >= STABLE_S
    counted = None if earlier is None or stable else earlier
    failures = counted.failures + 1 if counted else 1
    first_at = counted.first_at if counted else now
    looping = (
        failures >= LOOP_FAILURES and (now - first_at).total_seconds() <= LOOP_WINDOW_S and not new.lasting
    )
    wait_s = delay_s(failures, draw, was_ready=ready_for_s is not None)
    wait = timedelta(seconds=min(wait_s, LASTING_CAP_S) if new.lasting else wait_s)
    reason, message = new.reason, new.message
    if looping and not new.terminal:
        message = f"{failures} failures in a row, the last: {message}"
        reason = "CrashLoop"
    return Rejection(
        revision=new.revision,
        reason=reason,
        message=message,
        terminal=new.terminal,
        fix=new.fix,
        lasting=new.lasting,
        fetching=new.fetching,
        failures=failures,
        first_at=first_at,
        last_at=now,
        retry_at=None if new.terminal or looping else now + wait,
    )
