"""Status as conditions: what is observed about a model, each with its reason and since when."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ConditionType(StrEnum):
    ACCEPTED = "Accepted"  # the file on disk is valid and in force
    FETCHED = "Fetched"  # the weights are on this machine and checked
    FITS = "Fits"  # the memory it takes is there, or can be made free for it
    READY = "Ready"  # requests are answered
    PROGRESSING = "Progressing"  # a revision is being loaded or replaced
    DEGRADED = "Degraded"  # serving, but not what the file asks for
    DRIFTED = "Drifted"  # what is loaded is not what its source means now
    STALLED = "Stalled"  # nothing more will be tried until somebody acts


class Truth(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One observation about one model.

    `reason` is one CamelCase word for programs, `message` a sentence for
    people. `since` moves only when `status` does.
    """

    type: ConditionType
    status: Truth
    reason: str
    message: str
    observed_generation: int
    since: datetime
