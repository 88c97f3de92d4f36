"""A chat's messages and tools, from OpenAI's form to Ollama's. Pure."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.workers.fields import BadRequest, Fields

_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def messages_of(fields: Fields) -> list[dict[str, Any]]:
    """Return the messages.

    Raises:
        BadRequest: naming what is wrong.
    """
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:  # an empty chat would only load the model
        raise BadRequest("messages must be a list with at least one message", param="messages")
    called: dict[str, str] = {}
    return [_message(message, f"messages[{at}]", called) for at, message in enumerate(messages)]


def tools_of(fields: Fields) -> list[Any]:
    """Return the tools; none where the client forbids their use.

    Raises:
        BadRequest: they are no tools, or are chosen in a way that Ollama has nothing for.
    """
    if fields.get("functions"):
        raise BadRequest(
            "functions are not supported: use tools", param="functions", code="unsupported_parameter"
        )
    tools, choice = fields.get("tools"), fields.get("tool_choice")
    if tools is None or choice == "none":
        return []
    if not isinstance(tools, list) or not all(_is_tool(tool) for tool in tools):
        raise BadRequest(
            'tools must be a list of objects of type "function" with a named function', param="tools"
        )
    if choice not in (None, "auto"):
        raise BadRequest(
            'tool_choice must be "auto" or "none": Ollama cannot be made to use a tool',
            param="tool_choice",
            code="unsupported_parameter",
        )
    return tools


def _is_tool(tool: object) -> bool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _message(message: object, at: str, called: dict[str, str]) -> dict[str, Any]:
    """Return one message; `called` keeps the names of the tools that were called, by the call's id."""
    if not isinstance(message, dict):
        raise BadRequest(f"{at} must be an object", param=at)
    role = message.get("role")
    if role not in _ROLES:
        raise BadRequest(f"{at}.role must be one of {', '.join(_ROLES)}", param=f"{at}.role")
    text, images = _content(message.get("content"), f"{at}.content", optional=role == "assistant")
    made: dict[str, Any] = {"role": _ROLES[role], "content": text}
    if images:
        made["images"] = images
    thought = message.get("reasoning_content") or message.get("reasoning")
    if role == "assistant" and isinstance(thought, str):
        made["thinking"] = thought
    calls = message.get("tool_calls")
    if role == "assistant" and calls:
        made["tool_calls"] = _calls(calls, f"{at}.tool_calls", called)
    if role == "tool":
        id_ = message.get("tool_call_id")
        name = message.get("name") or called.get(str(id_))
        made |= {"tool_call_id": id_} if isinstance(id_, str) else {}
        made |= {"tool_name": name} if isinstance(name, str) else {}
    return made


def _content(content: object, at: str, *, optional: bool) -> tuple[str, list[str]]:
    """Return the text, and what Ollama calls images: those, and sounds, in base64."""
    if isinstance(content, str):
        return content, []
    if content is None and optional:
        return "", []
    if not isinstance(content, list):
        raise BadRequest(f"{at} must be a text or a list of parts", param=at)
    texts, images = [], []
    for number, part in enumerate(content):
        where = f"{at}[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), where))
        elif kind == "input_audio":
            sound = part.get("input_audio")
            images.append(_checked(sound.get("data") if isinstance(sound, dict) else None, where))
        else:
            shown = kind if isinstance(kind, str) else type(part).__name__
            raise BadRequest(f"{where} is of type {shown!r}", param=where, code="unsupported_content")
    return "".join(texts), images


def _image(image: object, at: str) -> str:
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise BadRequest(f"{at}.image_url.url must be a text", param=at)
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        raise BadRequest(
            f"{at} must hold its image itself, as data:image/png;base64,…: nothing is fetched for a request",
            param=at,
            code="unsupported_content",
        )
    return _checked(data, at)


def _checked(data: object, at: str) -> str:
    try:
        if not isinstance(data, str) or not base64.b64decode(data, validate=True):
            raise BadRequest(f"{at} is empty", param=at)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{at} is not valid base64", param=at) from None
    return data


def _calls(calls: object, at: str, called: dict[str, str]) -> Sequence[Mapping[str, Any]]:
    if not isinstance(calls, list):
        raise BadRequest(f"{at} must be a list", param=at)
    made = []
    for number, call in enumerate(calls):
        where = f"{at}[{number}]"
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str):
            raise BadRequest(f"{where} must name a function", param=where)
        id_ = call.get("id")
        one: dict[str, Any] = {
            "function": {"index": number, "name": name, "arguments": _arguments(function, where)}
        }
        if isinstance(id_, str):
            called[id_] = name
            one["id"] = id_
        made.append(one)
    return made


def _arguments(function: Mapping[str, object], at: str) -> Mapping[str, Any]:
    """Return the object that the text stands for."""
    written = function.get("arguments")
    try:
        found = json.loads(written) if isinstance(written, str) and written.strip() else written or {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadRequest(f"{at}.function.arguments must be the JSON of an object", param=at)
    return found
