"""Writes docs/config.md from the schemas. A test fails when the two differ.

python tools/make_config_reference.py           writes docs/config.md
python tools/make_config_reference.py --print   prints it
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.explain import yaml_of
from orchestrator.config.schema import engine_fields, published, words_of
from orchestrator.config.sources import forms
from orchestrator.engines import kinds

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
EXAMPLES = Path(__file__).parents[1]

INTRODUCTION = """\
# Configuration reference

Generated from the schemas by `tools/make_config_reference.py`; edit those, not this page.

    DIR/
      models.d/NAME.yaml      one model per file
      policies/NAME.yaml      how requests are routed among them
      orchestrator.yaml       what belongs to the machine (optional)

`DIR` is `--config DIR`; else the current folder, if it has a `models.d/`; else
`$XDG_CONFIG_HOME/orchestrator` (`~/.config/orchestrator`; on macOS `~/Library/Application
Support/orchestrator`); else `/etc/orchestrator`. `orchestrator check DIR` validates it without a daemon,
`orchestrator schema KIND` prints the JSON Schema of a kind (`model`, `routing`, `settings`). A first line
`# yaml-language-server: $schema=PATH` makes editors complete and check the file.

## How files are read

- **YAML 1.2.** `no`, `on` and `1:30` are words. Duplicate keys, anchors and aliases, merge keys, tags, a
  second document, `.inf` and `.nan` are errors. UTF-8 without byte order mark, at most 256 KiB.
- **Names.** `*.yaml` and `*.yml`, links followed. Files whose names start with a dot, and what editors
  leave behind (`a.yaml~`, `a.yaml.bak`, `#a.yaml#`), are passed over. Two files for one name are a problem
  at both.
- **References.** `${env:NAME}`, `${file:PATH}` and `${credential:NAME}` in values (not in keys) are replaced
  when the file is read, and never shown, logged or stored. A file's last line break is dropped; relative
  paths start at `DIR`; at most 64 KiB. A credential is systemd's (`LoadCredential=`): the file of that name
  in `$CREDENTIALS_DIRECTORY`. `$${` is a literal `${`. A referenced file that changes is read again.
- **Secrets** (`api_key`, `api_keys`, `hf.token`) must be references. No problem ever shows the line of such a
  field, nor what a reference stands for. References in `command` are refused: every user of a machine can
  see the arguments of its programs.
- **Durations** are `500ms`, `10s`, `2m`, `1.5h`, `7d`; **sizes** `16MiB` (binary) or `16MB` (decimal).
- **Problems** come all at once, each as `file:line:column: what`, the source line, and `fix:`.

## What is obeyed, and when

- **A file with problems keeps its own last accepted version in force**, also over a restart; all other
  files go on. An empty file is a problem, not a deletion.
- **Only a change of meaning counts.** Comments, order and spelled-out defaults change nothing. Each change
  of meaning adds one to the file's generation; a file that is deleted and comes back goes on counting while
  the daemon runs.
- **A deletion counts** when the file has been away in two scans, two seconds apart. Is the folder itself
  missing, unreadable or on another device than before, or are two or more files and more than half of them
  gone at once, then the deletion is *held*: everything stays in force until the files come back or
  `orchestrator reload --confirm-removal` confirms it. To take a model out of service for certain, write
  `state: absent`.
- **A policy that names a model without a file** is a problem at that word, and keeps its last accepted
  version. It comes into force by itself once the model's file appears. A model that a policy names may
  still be deleted; the policy then has the problem. A model whose file has problems of its own is no
  problem of the policy.
- **A second `default: true`** is refused while another policy in force has it; where none has, all are
  refused.
- **The settings file** is read when the daemon starts: a broken one stops the start (exit code 78). Later
  edits are reported, and taken up by a restart.
- **Edits are noticed** by events of the file system, usually within a quarter of a second, and by a scan
  every `scan_every` in any case: network file systems send no events. `orchestrator reload --wait` scans at
  once.
"""

RULES = """\
A rule table; the first rule that holds decides:

```yaml
kind: routing
rules:
  - when: {priority: {at_least: 9}}
    use: [quality]                      # in place of `otherwise`
  - when: {task: [code_generation, code_review]}
    use: [coder]
  - when: {complexity: {above: 0.7}, estimated_tokens: {below: 4000}}
    prefer: [quality]                   # these first, and then `otherwise`
otherwise: [fast]
fallback: [quality]                     # after all of them
tiers: [local]                          # [local, remote] lets paid ones take part, if `egress: true` does too
```
"""

CHANGES = {
    "live": "live, nothing is loaded anew (but `absent` unloads)",
    "reload": "reload, the same weights in a new process",
    "replace": "replace, a new revision is loaded beside the old one",
}

WHERE = {
    "model": ("models.d/fast.yaml", "A model file has these fields; `engine` and `source` are required."),
    "routing": (
        "policies/default.yaml",
        "A routing policy has these fields; `kind` and `otherwise` are required.",
    ),
    "settings": (
        None,
        "Every field may be left out.",
    ),
}

NOUNS = {
    "integer": "whole number",
    "object": "mapping",
    "boolean": "`true`, `false`",
    "string": "text",
    "listen": "address",
    "source": "source",
    "duration": "duration",
    "size": "size",
    "memory": "`auto` or size",
    "recurrence": "recurrence",
    "endpoint": "URL",
    "secret": "reference",
    "argument": "text",
}


def reference() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *(section(kind) for kind in WHERE)])


def section(kind: str) -> str:
    """Return the part about one kind of file."""
    rule = published(kind, kinds.traits())
    example, sentence = WHERE[kind]
    parts = [f"## {rule['title']}", "", rule["description"], "", sentence, ""]
    if example is not None:
        parts += ["```yaml", (EXAMPLES / example).read_text().rstrip(), "```", ""]
    if kind == "model":
        parts += [*engines(), ""]
    if kind == "routing":
        parts += [RULES]
    parts += ["| field | value | default | what it is |", "| --- | --- | --- | --- |"]
    parts += [row(name, inner) for name, inner in fields("", rule)]
    classes = {inner["x-changes"] for _, inner in fields("", rule) if "x-changes" in inner}
    if kind == "model":
        parts += ["", "An edit of a running model leads to:", ""]
        parts += [f"- {CHANGES[name]}: {changed_by(rule, name)}" for name in CHANGES if name in classes]
    return "\n".join([*parts, ""])


def engines() -> Iterator[str]:
    """Yield the table of the engines."""
    yield "| engine | what it is | sources | fields of its own |"
    yield "| --- | --- | --- | --- |"
    for each in kinds.traits().values():
        own = [name for name in engine_fields() if name in each.takes]
        listed = ", ".join(f"`{name}`" + (" (needed)" if name in each.needs else "") for name in own)
        yield f"| `{each.name}` | {each.summary.rstrip('.')}. | {forms(each)} | {listed} |"
    chosen = [(each, name) for each in kinds.traits().values() for name in each.choices]
    if chosen:
        yield ""
    for each, name in chosen:
        yield f"- `{name}` on `{each.name}`: {', '.join(f'`{word}`' for word in words_of(each, name))}"


def fields(prefix: str, rule: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every field with its rule, dotted where nested."""
    for name, inner in rule.get("properties", {}).items():
        yield prefix + name, inner
        if not inner.get("x-bounds"):  # their four words are in the column of values
            yield from fields(f"{prefix}{name}.", inner)
            yield from fields(f"{prefix}{name}[].", inner.get("items", {}))


def row(name: str, rule: Mapping[str, Any]) -> str:
    """Return one line of the table."""
    default = f"`{yaml_of(rule['default'])}`" if "default" in rule else ""
    text = rule["description"].replace("|", "\\|")
    example = "" if "enum" in rule else f" Example: `{yaml_of(rule['examples'][0])}`"
    return f"| `{name}` | {value(rule)} | {default} | {text}{example} |"


def value(rule: Mapping[str, Any]) -> str:
    """Return what may be written, in a few words."""
    if rule.get("x-bounds"):
        return ", ".join(f"`{word}`" for word in rule["properties"])
    if isinstance(rule["type"], list):
        return f"{NOUNS[rule.get('x-read', 'string')]}, or list"
    if "enum" in rule:
        return ", ".join(f"`{word}`" for word in rule["enum"])
    if rule["type"] == "array":
        return "list"
    noun = NOUNS.get(rule.get("x-read", rule["type"]), rule["type"])
    low = rule.get("minimum", rule.get("x-from"))
    bounds = [f"from {low}"] if low is not None else []
    bounds += [f"above {rule['exclusiveMinimum']}"] if "exclusiveMinimum" in rule else []
    high = rule.get("maximum", rule.get("x-to"))
    bounds += [f"to {high}"] if high is not None else []
    return " ".join([noun, *bounds])


def changed_by(rule: Mapping[str, Any], change: str) -> str:
    """Return the fields of one class of change."""
    names = [name for name, inner in rule["properties"].items() if inner.get("x-changes") == change]
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    if "--print" in sys.argv:
        print(reference())
    else:
        PAGE.write_text(reference())
        print(f"wrote {PAGE}")
