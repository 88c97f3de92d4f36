"""A client's request, from OpenAI's form to Ollama's. Pure.

How long the model stays, and how much it remembers, is never the client's to say: `keep_alive` is always for
ever, and `num_ctx` is part of the loaded model. `shift` is left as it is everywhere: who said something else
than others would have the server load the model anew. A prompt that is too long is refused in place of being
cut in silence.
"""

from typing import Any, Final

from orchestrator.engines.ollama.messages import messages_of, tools_of
from orchestrator.engines.ollama.options import (
    Wanted,
    check_common,
    format_of,
    options_of,
    think_of,
    top_logprobs_of,
    usage_wanted,
)
from orchestrator.workers.fields import BadRequest, Fields
from orchestrator.workers.openai import read_body

KEEP: Final = -1
# What every request that makes text has, and a load too.
ALWAYS: Final = {"keep_alive": KEEP, "truncate": False, "stream": True}


def wanted_of(path: str, body: bytes) -> Wanted:
    """Return what a request to a path of OpenAI's becomes.

    Raises:
        BadRequest: naming the field that is wrong, or that Ollama has nothing for.
    """
    fields = read_body(body)
    match path:
        case "/v1/chat/completions":
            return chat(fields)
        case "/v1/completions":
            return completion(fields)
        case _:
            return embedding(fields)


def chat(fields: Fields) -> Wanted:
    """Return a chat for /api/chat."""
    check_common(fields)
    body: dict[str, Any] = {"messages": messages_of(fields), **_made(fields)}
    tools = tools_of(fields)
    if tools:
        body["tools"] = tools
    think = think_of(fields)
    if think is not None:
        body["think"] = think
    if fields.flag("logprobs"):
        body |= {"logprobs": True, "top_logprobs": top_logprobs_of(fields, "top_logprobs")}
    return Wanted(
        path="/api/chat", body=body, stream=fields.flag("stream"), include_usage=usage_wanted(fields)
    )


def completion(fields: Fields) -> Wanted:
    """Return a plain completion for /api/generate: the very text, with no template around it.

    With a `suffix` the model's own template puts the two together, as only it knows how.
    """
    check_common(fields)
    if fields.get("echo"):
        raise BadRequest("echo is not supported", param="echo", code="unsupported_parameter")
    if fields.integer("best_of", 1, 1, 128) > 1:
        raise BadRequest("best_of must be 1", param="best_of", code="unsupported_parameter")
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:  # an empty one would only load the model
        raise BadRequest("prompt must be one text, not empty: Ollama takes no tokens", param="prompt")
    body: dict[str, Any] = {"prompt": prompt, **_made(fields)}
    suffix = fields.get("suffix")
    if isinstance(suffix, str) and suffix:
        body["suffix"] = suffix
    else:
        body["raw"] = True
    if fields.get("logprobs") is not None:
        body |= {"logprobs": True, "top_logprobs": top_logprobs_of(fields, "logprobs")}
    return Wanted(
        path="/api/generate",
        body=body,
        stream=fields.flag("stream"),
        include_usage=usage_wanted(fields),
        legacy=True,
    )


def embedding(fields: Fields) -> Wanted:
    """Return a request for /api/embed."""
    encoding = fields.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise BadRequest('encoding_format must be "float" or "base64"', param="encoding_format")
    value = fields.get("input")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(each, str) and each for each in texts):
        raise BadRequest(
            "input must be a text or a list of texts, none of them empty: Ollama takes no tokens",
            param="input",
        )
    body: dict[str, Any] = {"input": texts, "truncate": False, "keep_alive": KEEP}
    dimensions = fields.integer("dimensions", None, 1, None)
    if dimensions is not None:
        body["dimensions"] = dimensions
    return Wanted(path="/api/embed", body=body, as_base64=encoding == "base64")


def _made(fields: Fields) -> dict[str, Any]:
    """Return what every request that makes text has."""
    made: dict[str, Any] = dict(ALWAYS)
    options, form = options_of(fields), format_of(fields)
    if options:
        made["options"] = options
    if form is not None:
        made["format"] = form
    return made
