"""OpenAI's request bodies, read into values; what is wrong is refused by the name of its field."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.workers.fields import BadRequest, Fields
from orchestrator.workers.params import SamplingParams

_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_STOPS: Final = 16
_BIAS: Final = 100.0
_DEFAULTS: Final = SamplingParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What chat and plain completions have in common; `max_tokens` None means as many as fit."""

    max_tokens: int | None
    stops: tuple[str, ...]
    sampling: SamplingParams
    stream: bool
    include_usage: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    messages: tuple[Mapping[str, object], ...]
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """`prompt` is text, or tokens."""

    prompt: str | tuple[int, ...]
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    inputs: tuple[str | tuple[int, ...], ...]
    base64: bool


def read_body(body: bytes) -> Fields:
    """Parse a request's body.

    Raises:
        BadRequest: it is not a JSON object.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadRequest("the body must be a JSON object")
    return Fields(content)


def read_chat(fields: Fields) -> ChatRequest:
    """Read a body of /v1/chat/completions.

    Raises:
        BadRequest: naming the field.
    """
    for name in ("tools", "functions"):
        if fields.get(name):
            raise BadRequest(
                f"{name} are not supported by this engine yet", param=name, code="unsupported_parameter"
            )
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list with at least one message", param="messages")
    read = tuple(_message(message, f"messages[{at}]") for at, message in enumerate(messages))
    return ChatRequest(messages=read, options=_options(fields))


def read_completion(fields: Fields) -> CompletionRequest:
    """Read a body of /v1/completions.

    Raises:
        BadRequest: naming the field.
    """
    for name in ("echo", "suffix"):
        if fields.get(name):
            raise BadRequest(
                f"{name} is not supported by this engine", param=name, code="unsupported_parameter"
            )
    if (fields.integer("best_of", 1, 1, 128) or 1) > 1:
        raise BadRequest("best_of must be 1", param="best_of", code="unsupported_parameter")
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    text = _text_or_tokens(prompt)
    if text is None:
        raise BadRequest("prompt must be one text, or one list of tokens", param="prompt")
    return CompletionRequest(prompt=text, options=_options(fields))


def read_embedding(fields: Fields) -> EmbeddingRequest:
    """Read a body of /v1/embeddings.

    Raises:
        BadRequest: naming the field.
    """
    if fields.get("dimensions") is not None:
        raise BadRequest(
            "dimensions is not supported: the model makes vectors of one length only",
            param="dimensions",
            code="unsupported_parameter",
        )
    encoding = fields.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise BadRequest('encoding_format must be "float" or "base64"', param="encoding_format")
    value = fields.get("input")
    one = _text_or_tokens(value)
    several = value if one is None and isinstance(value, list) else []
    many = [one] if one is not None else [_text_or_tokens(item) for item in several]
    inputs = tuple(item for item in many if item)
    if not inputs or len(inputs) != len(many):
        raise BadRequest(
            "input must be a text, tokens, or a list of these, none of them empty", param="input"
        )
    return EmbeddingRequest(inputs=inputs, base64=encoding == "base64")


def _text_or_tokens(value: object) -> str | tuple[int, ...] | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(type(item) is int and item >= 0 for item in value):
        return tuple(value)
    return None


def _message(message: object, param: str) -> Mapping[str, object]:
    if not isinstance(message, dict):
        raise BadRequest(f"{param} must be an object", param=param)
    role = message.get("role")
    if role not in _ROLES:
        raise BadRequest(f"{param}.role must be one of {', '.join(_ROLES)}", param=f"{param}.role")
    content = _content(message.get("content"), f"{param}.content", optional=role == "assistant")
    name = message.get("name")
    named = {"name": name} if isinstance(name, str) else {}
    return {"role": _ROLES[role], "content": content} | named


def _content(content: object, param: str, *, optional: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and optional:
        return ""
    if not isinstance(content, list):
        raise BadRequest(f"{param} must be a text or a list of parts", param=param)
    texts = []
    for at, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise BadRequest(
                f"{param}[{at}] is of type {kind!r}: this model reads text only",
                param=f"{param}[{at}]",
                code="unsupported_content",
            )
        texts.append(part["text"])
    return "".join(texts)


def _options(fields: Fields) -> Options:
    if (fields.integer("n", 1, 1, 128) or 1) > 1:
        raise BadRequest(
            "n must be 1: ask several times for several answers", param="n", code="unsupported_parameter"
        )
    for name in ("logprobs", "top_logprobs"):
        if fields.get(name):
            raise BadRequest(
                f"{name} is not supported by this engine", param=name, code="unsupported_parameter"
            )
    stream = fields.flag("stream")
    stream_options = fields.get("stream_options")
    if stream_options is not None and not isinstance(stream_options, dict):
        raise BadRequest("stream_options must be an object", param="stream_options")
    limits = (
        fields.integer("max_completion_tokens", None, 1, None),
        fields.integer("max_tokens", None, 1, None),
    )
    return Options(
        max_tokens=next((limit for limit in limits if limit is not None), None),
        stops=_stops(fields),
        sampling=_sampling(fields),
        stream=stream,
        include_usage=Fields(stream_options or {}, "stream_options.").flag("include_usage"),
    )


def _stops(fields: Fields) -> tuple[str, ...]:
    stop = fields.get("stop")
    stops = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(stops, list) or not all(isinstance(item, str) and item for item in stops):
        raise BadRequest("stop must be a text or a list of texts, none of them empty", param="stop")
    if len(stops) > _STOPS:
        raise BadRequest(f"stop may hold {_STOPS} texts", param="stop")
    return tuple(stops)


def _sampling(fields: Fields) -> SamplingParams:
    return SamplingParams(
        temperature=fields.number("temperature", _DEFAULTS.temperature, 0, 5),
        top_k=fields.integer("top_k", _DEFAULTS.top_k, -1, None) or 0,
        top_p=fields.number("top_p", _DEFAULTS.top_p, 0, 1),
        min_p=fields.number("min_p", _DEFAULTS.min_p, 0, 1),
        repeat_penalty=fields.number("repeat_penalty", _DEFAULTS.repeat_penalty, 0.01, 10),
        frequency_penalty=fields.number("frequency_penalty", _DEFAULTS.frequency_penalty, -2, 2),
        presence_penalty=fields.number("presence_penalty", _DEFAULTS.presence_penalty, -2, 2),
        seed=fields.integer("seed", None, None, None),
        bias=_bias(fields),
        ignore_eos=fields.flag("ignore_eos"),
        grammar=_grammar(fields),
    )


def _bias(fields: Fields) -> Mapping[int, float]:
    bias = fields.get("logit_bias")
    if bias is None:
        return {}
    try:
        read = {int(token): float(value) for token, value in bias.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        read = {-1: 0.0}
    if any(token < 0 or not abs(value) <= _BIAS for token, value in read.items()):
        raise BadRequest("logit_bias must map tokens to numbers from -100 to 100", param="logit_bias")
    return read


def _grammar(fields: Fields) -> str:
    wanted = fields.get("response_format")
    if wanted is None:
        return ""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or kind not in ("text", "json_object", "json_schema"):
        raise BadRequest(
            'response_format must be an object of type "text", "json_object" or "json_schema"',
            param="response_format",
        )
    if kind == "text":
        return ""
    # Imported here because it loads llama.cpp, which other runtimes do without.
    from orchestrator.workers.grammar import JSON_OBJECT, SchemaRefused, grammar_of  # noqa: PLC0415

    if kind == "json_object":
        return JSON_OBJECT
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        raise BadRequest(
            "response_format.json_schema.schema must be an object", param="response_format.json_schema.schema"
        )
    try:
        return grammar_of(schema)
    except SchemaRefused as error:
        raise BadRequest(
            str(error), param="response_format.json_schema.schema", code="unsupported_schema"
        ) from error
