"""A request's body: what the gateway reads in it, and what it passes on to the worker."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from orchestrator.decide.features import Features
from orchestrator.errors import RequestError
from orchestrator.gateway import features
from orchestrator.values.spec import Sampling

# Where the client limits the answer under either name, the file's default limit does not apply.
MAX_TOKENS_NAMES: Final = ("max_tokens", "max_completion_tokens")
# No file has a longer name; what is longer would only swell errors and history.
LONGEST_NAME: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One kind of request. `name` is the last part of its path, as history has it."""

    name: str
    path: str
    capability: str
    generates: bool


ENDPOINTS: Final = (
    Endpoint(name="chat", path="/v1/chat/completions", capability="chat", generates=True),
    Endpoint(name="completions", path="/v1/completions", capability="completion", generates=True),
    Endpoint(name="embeddings", path="/v1/embeddings", capability="embedding", generates=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the gateway understands of a request; the rest is the worker's business.

    `requested` is the body's `model`. `wants_usage` is True where the client
    asked for the usage counts of a stream.
    """

    fields: dict[str, Any]
    requested: str
    stream: bool
    wants_usage: bool
    features: Features


def parse(body: bytes, headers: Mapping[bytes, bytes], *, generates: bool) -> Ask:
    """Read a request; raise RequestError with status 400 where it makes no sense."""
    fields = _object(body)
    requested = fields.get("model")
    if not isinstance(requested, str) or not requested:
        raise RequestError(
            "the body must name a model"
            if requested is None
            else "`model` must be a string that is not empty",
            status=400,
            code="model_missing",
            param="model",
            fix='add "model": a name of GET /v1/models, or "auto"',
        )
    if len(requested) > LONGEST_NAME:
        raise RequestError(
            f"`model` is longer than {LONGEST_NAME} characters",
            status=400,
            code="invalid_model",
            param="model",
        )
    stream = fields.get("stream") if generates else None
    if stream is not None and not isinstance(stream, bool):
        raise _bad_type("stream", "true or false")
    options = fields.get("stream_options") if stream else None
    if options is not None and not isinstance(options, dict):
        raise _bad_type("stream_options", "an object")
    return Ask(
        fields=fields,
        requested=requested,
        stream=bool(stream),
        wants_usage=bool(options and options.get("include_usage")),
        features=features.read(headers, fields),
    )


def for_worker(ask: Ask, model: str, sampling: Sampling, *, generates: bool) -> bytes:
    """Return the body for the worker: the model's real name and its defaults where the client gave no value.

    A stream is always asked for its usage counts, because history wants them.
    """
    fields = features.without_ours(ask.fields) | {"model": model}
    if generates:
        given = {name for name, value in fields.items() if value is not None}
        if not given.isdisjoint(MAX_TOKENS_NAMES):
            given.update(MAX_TOKENS_NAMES)
        fields |= {name: value for name, value in sampling.as_request_fields().items() if name not in given}
    if ask.stream:
        fields["stream_options"] = (fields.get("stream_options") or {}) | {"include_usage": True}
    return json.dumps(fields, separators=(",", ":")).encode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        what = "it is nested too deeply"
    except ValueError as error:
        what = str(error)
    else:
        if isinstance(fields, dict):
            return fields
        what = "it is not an object"
    raise RequestError(
        f"the body is not a JSON object: {what}",
        status=400,
        code="invalid_json",
        fix="send a JSON object, in UTF-8",
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _bad_type(param: str, wanted: str) -> RequestError:
    return RequestError(f"`{param}` must be {wanted}", status=400, code="invalid_type", param=param)
