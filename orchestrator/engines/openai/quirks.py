"""What one upstream has turned out not to take, and what is left out or renamed for it.

The gateway fills in the sampling defaults of the model's file and asks every stream for its usage; some
upstreams refuse fields that others need (`top_k`, `min_p`, `repeat_penalty` and `stream_options` are not
everybody's). By the time a request comes here, a default cannot be told from what the client wrote. So:

- nothing is left out before the upstream has refused it by name (400 or 422);
- then it is left out only where its value is the default of the file: a client's own value that differs is
  still sent, and the upstream's refusal reaches the client;
- `max_tokens` becomes `max_completion_tokens` where the refusal names that, whoever wrote it: both mean the
  same.

What was learnt holds for one endpoint as long as its replica lives.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.engines.openai.refusals import Said

# How a refusal of a field, rather than of its size, is worded: by OpenAI, Azure, Mistral, vLLM, FastAPI.
_REFUSES: Final = re.compile(
    r"unrecogni[sz]ed|unknown|unexpected|unsupported|not supported|not support |extra (?:inputs|fields)"
    r"|not permitted|not allowed|no such (?:field|parameter)|extra_forbidden",
    re.IGNORECASE,
)
_STREAM_OPTIONS: Final = {"include_usage": True}
_NEWER: Final = "max_completion_tokens"


class Quirks:
    """What to leave out for one endpoint. `defaults` are the file's, by their names in a body."""

    def __init__(self, defaults: Mapping[str, float]) -> None:
        self._defaults: Mapping[str, object] = {**defaults, "stream_options": _STREAM_OPTIONS}
        self.left_out: frozenset[str] = frozenset()
        self.renames = False

    def applied(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that this endpoint should get."""
        sent = {name: value for name, value in fields.items() if not self._leaves_out(name, value)}
        if self.renames and "max_tokens" in sent:
            sent.setdefault(_NEWER, sent["max_tokens"])
            del sent["max_tokens"]
        return sent

    def learn(self, said: Said, fields: Mapping[str, Any]) -> bool:
        """Take note of a refusal; True where the next try will be another one."""
        text = f"{said.message} {said.param} {said.code}"
        if said.status not in {400, 422} or not _REFUSES.search(text):
            return False
        before = (self.left_out, self.renames)
        if _NEWER in text and "max_tokens" in fields:
            self.renames = True
        else:
            named = {name for name in self._defaults if re.search(rf"\b{name}\b", text)}
            self.left_out |= {name for name in named if fields.get(name) == self._defaults[name]}
        return before != (self.left_out, self.renames)

    def _leaves_out(self, name: str, value: object) -> bool:
        return name in self.left_out and value == self._defaults[name]
