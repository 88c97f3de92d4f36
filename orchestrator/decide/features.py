"""What the rules of a policy see of a request."""

from dataclasses import dataclass
from typing import Final

DEFAULT_PRIORITY: Final = 5
LEAST_PRIORITY: Final = 0
MOST_PRIORITY: Final = 10
# A rule of thumb for English text, not a measurement: other languages and code need more tokens.
CHARACTERS_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What is known of one request without asking any model.

    `priority` is from 0 to 10, the larger the more urgent. `task` is a word of
    the user's own, "" for none. `complexity` is from 0 to 1, None where the
    request does not say. `estimated_tokens` is the length of its prompt, None
    where nobody has looked.
    """

    priority: int = DEFAULT_PRIORITY
    task: str = ""
    complexity: float | None = None
    estimated_tokens: int | None = None


NO_FEATURES: Final = Features()


def estimated_tokens(characters: int) -> int:
    """Return about how many tokens a text has; an estimate, rounded up."""
    return -(-characters // CHARACTERS_PER_TOKEN)
