"""What chat and plain completions have in common, from OpenAI's fields to Ollama's options. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.workers.fields import BadRequest, Fields

_STOPS: Final = 16
_MOST_LOGPROBS: Final = 20
_SEEDS: Final = 2**31 - 1
# OpenAI's words, and one of llama.cpp's users; `none` turns thinking off.
_EFFORTS: Final = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a client wants: the body that Ollama is sent, and how he wants to hear the answer.

    The body has no `model` yet. `legacy` is a plain completion; `as_base64` is
    how vectors are written.
    """

    path: str
    body: dict[str, Any] = field(repr=False)
    stream: bool = False
    include_usage: bool = False
    legacy: bool = False
    as_base64: bool = False

    def body_for(self, model: str, *, stops: Sequence[str], context: int) -> dict[str, Any]:
        """Return the body for a model as a server calls it.

        A client's stops join the model's own: to Ollama they would replace them, and the model would not know
        its end any more. Without a limit an answer may fill the context once: Ollama would go on for ten
        times that, forgetting what was said first.
        """
        body = {"model": model, **self.body}
        if self.path == "/api/embed":
            return body
        options = {"num_predict": context} | self.body.get("options", {})
        if options.get("stop"):
            options["stop"] = list(dict.fromkeys((*options["stop"], *stops)))
        return body | {"options": options}


def check_common(fields: Fields) -> None:
    """Raise BadRequest for what Ollama has nothing for."""
    if (fields.integer("n", 1, 1, 128) or 1) > 1:
        raise BadRequest(
            "n must be 1: ask several times for several answers", param="n", code="unsupported_parameter"
        )
    if fields.get("logit_bias"):
        raise BadRequest("Ollama has no logit_bias", param="logit_bias", code="unsupported_parameter")


def options_of(fields: Fields) -> dict[str, Any]:
    """Return Ollama's options; what a client leaves out, the model's own parameters say.

    Nothing that belongs to the loaded model is among them, such as `num_ctx`: a client could make the server
    load it anew.

    Raises:
        BadRequest: naming the field.
    """
    limits = (
        fields.integer("max_completion_tokens", None, 1, None),  # 0 would mean no limit to Ollama
        fields.integer("max_tokens", None, 1, None),
    )
    top_k = fields.integer("top_k", None, -1, None)
    seed = fields.integer("seed", None, None, None)
    found: dict[str, Any] = {
        "temperature": _number(fields, "temperature", 0, 5),
        "top_p": _number(fields, "top_p", 0, 1),
        "top_k": None if top_k is None else max(top_k, 0),
        "min_p": _number(fields, "min_p", 0, 1),
        "repeat_penalty": _number(fields, "repeat_penalty", 0.01, 10),
        "presence_penalty": _number(fields, "presence_penalty", -2, 2),
        "frequency_penalty": _number(fields, "frequency_penalty", -2, 2),
        "seed": None if seed is None else seed % _SEEDS,
        "num_predict": next((limit for limit in limits if limit is not None), None),
        "stop": _stops(fields),
    }
    return {name: value for name, value in found.items() if value is not None}


def format_of(fields: Fields) -> object:
    """Return Ollama's `format`, None where any text will do.

    Raises:
        BadRequest: it is of no kind that there is.
    """
    wanted = fields.get("response_format")
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or kind not in ("text", "json_object", "json_schema"):
        raise BadRequest(
            'response_format must be an object of type "text", "json_object" or "json_schema"',
            param="response_format",
        )
    if kind == "text":
        return None
    if kind == "json_object":
        return "json"
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        raise BadRequest(
            "response_format.json_schema.schema must be an object", param="response_format.json_schema.schema"
        )
    return schema


def think_of(fields: Fields) -> object:
    """Return Ollama's `think`, None where the model decides.

    Raises:
        BadRequest: it is no effort that there is.
    """
    effort = fields.get("reasoning_effort")
    nested = fields.get("reasoning")
    if effort is None and isinstance(nested, dict):
        effort = nested.get("effort")
    if effort is None:
        arguments = fields.get("chat_template_kwargs")
        asked = arguments.get("enable_thinking") if isinstance(arguments, dict) else None
        return asked if isinstance(asked, bool) else None
    if effort not in _EFFORTS:
        raise BadRequest(f"reasoning_effort must be one of {', '.join(_EFFORTS)}", param="reasoning_effort")
    return _EFFORTS[str(effort)]


def top_logprobs_of(fields: Fields, name: str) -> int:
    """Return how many alternatives a client wants to see, from 0.

    Raises:
        BadRequest: there are never as many.
    """
    return fields.integer(name, 0, 0, _MOST_LOGPROBS)


def usage_wanted(fields: Fields) -> bool:
    """Say whether a stream should end with its usage.

    Raises:
        BadRequest: it is not written as it should be.
    """
    said = fields.get("stream_options")
    if said is not None and not isinstance(said, dict):
        raise BadRequest("stream_options must be an object", param="stream_options")
    return Fields(said or {}, "stream_options.").flag("include_usage")


def _number(fields: Fields, name: str, low: float, high: float) -> float | None:
    return None if fields.get(name) is None else fields.number(name, low, low, high)


def _stops(fields: Fields) -> list[str] | None:
    stop = fields.get("stop")
    if stop is None:
        return None
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(item, str) and item for item in stops):
        raise BadRequest("stop must be a text or a list of texts, none of them empty", param="stop")
    if len(stops) > _STOPS:
        raise BadRequest(f"stop may hold {_STOPS} texts", param="stop")
    return stops or None
