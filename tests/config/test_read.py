"""Bytes to data: YAML 1.2 scalars, places, and everything that is refused."""

import pytest
import yaml

from orchestrator.config import read
from orchestrator.config.read import DEEPEST, MOST_BYTES, MOST_NODES, decode, parse


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers: PyYAML comes without libyaml on some machines."""
    monkeypatch.setattr(read, "LOADER", getattr(yaml, request.param))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("1:30", "1:30"),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-7", -7),
        ("+7", 7),
        ("1_000", "1_000"),
        ("3.10", 3.1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("2026-11-20", "2026-11-20"),
        ("'7'", "7"),
        ('"true"', "true"),
        ("gemma3:1b", "gemma3:1b"),
        ("-", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    tree = parse(f"key: {text}\n") if text != "-" else parse("key:\n")
    assert isinstance(tree.data, dict)
    assert tree.data == {"key": value}
    assert type(tree.data["key"]) is type(value)
    assert not tree.flaws


def test_every_key_and_value_has_its_place() -> None:
    tree = parse("# comment\nengine: llama-cpp\nsampling:\n  top_k: 40\nlist: [a,\n  b]\n")
    assert tree.data == {"engine": "llama-cpp", "sampling": {"top_k": 40}, "list": ["a", "b"]}
    assert tree.keys["sampling", "top_k"] == (4, 3)
    assert tree.values["sampling", "top_k"] == (4, 10)
    assert tree.values["list", 1] == (6, 3)
    assert tree.place(("sampling", "seed")) == tree.values["sampling",]


@pytest.mark.parametrize(
    ("text", "what", "line", "column"),
    [
        ("", "the file is empty", 0, 0),
        ("\n# only a comment\n", "the file is empty", 0, 0),
        ("---\n", "the file is empty", 0, 0),
        ("a: 1\na: 2\n", "'a' is given twice (first in line 1)", 2, 1),
        ("a: {b: 1, b: 2}\n", "'b' is given twice (first in line 1)", 1, 11),
        ("a: &x 1\n", "anchors (&name) are not allowed", 1, 4),
        ("a: *x\n", "aliases (*name) are not allowed", 1, 4),
        ("<<: {a: 1}\n", "merge keys (<<) are not allowed", 1, 1),
        ("a: !!str 1\n", "tags (!!str) are not allowed", 1, 4),
        ("a: !secret x\n", "tags (!secret) are not allowed", 1, 4),
        ("a: .inf\n", ".inf is not a finite number", 1, 4),
        ("a: -.INF\n", "-.INF is not a finite number", 1, 4),
        ("a: .nan\n", ".nan is not a finite number", 1, 4),
        ("a: 1e999\n", "1e999 is too large a number", 1, 4),
        ("a: " + "9" * 30, "a number of 30 digits is too long", 1, 4),
        ("? [a]\n: b\n", "a key must be one word", 1, 3),
        ("a: 1\n---\nb: 1\n", "a second document starts here", 2, 1),
        ("a:\n\tb: 1\n", "a tab is not allowed in the indentation", 2, 1),
        ("a: b: c\n", "`: ` is not allowed here", 1, 5),
        ("a: 'open\nb: 1\n", "the text in quotes has no end", 1, 4),
        ("a: [1,\n\n", "a value is missing", 1, 7),
        ("a: [1 2\nb: 3\n", "the list is not closed", 1, 4),
        ("a: {b: 1\nc: 3\n", "the mapping is not closed", 1, 4),
        ("a: @b\n", "a value cannot start with this character", 1, 4),
        ("a: 1\n  b: 2\n", "`: ` is not allowed here", 2, 4),
        ("a:\n  b: 1\n c: 2\n", "this does not belong here", 3, 2),
        ("a: 'b' c\n", "this does not belong here", 1, 8),
        ("- a\nb: 1\n", "this does not belong here", 2, 1),
        ("a: 1\nb\nc: 2\n", "a key without a colon", 2, 1),
        ("%YAML 3.0\n---\na: 1\n", "this is another version of YAML", 1, 1),
        ("[" * 5000, f"nested deeper than {DEEPEST} levels", 1, DEEPEST + 2),
        ("a: [" + "1," * MOST_NODES + "]", "too many values", 1, None),
    ],
)
def test_what_is_not_allowed_is_said_with_its_place(
    text: str, what: str, line: int, column: int | None
) -> None:
    (flaw,) = parse(text).flaws
    assert (flaw.what, flaw.line) == (what, line)
    assert column is None or flaw.column == column
    assert flaw.fix


def test_all_flaws_of_form_are_found_at_once() -> None:
    tree = parse("a: &x 1\na: .nan\nb: *x\nc: !!int 2\n")
    assert [flaw.line for flaw in tree.flaws] == [1, 2, 2, 3, 4]


def test_an_alias_bomb_is_not_expanded() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    tree = parse("\n".join(layers))
    assert len(tree.flaws) == 10 + 9 * 9


@pytest.mark.parametrize(
    ("raw", "what", "line", "column"),
    [
        (b"a: \xff\n", "the byte 0xff is not UTF-8", 1, 4),
        ("a: é\nb: ".encode() + b"\xe9\n", "the byte 0xe9 is not UTF-8", 2, 4),
        (b"a: 1\nb: \x00\n", "the character U+0000 is not allowed", 2, 4),
        (b"a: \x1b[2J\n", "the character U+001B is not allowed", 1, 4),
        ("a: 1\n".encode("utf-16"), "the file is UTF-16", 0, 0),
        ("a: 1\n".encode("utf-8-sig"), "the file starts with a byte order mark", 0, 0),
        (b"#" * (MOST_BYTES + 1), "the file has more than 256 KiB", 0, 0),
    ],
)
def test_bytes_that_are_no_text(raw: bytes, what: str, line: int, column: int) -> None:
    _text, flaw = decode(raw)
    assert flaw is not None
    assert (flaw.what, flaw.line, flaw.column) == (what, line, column)
    assert flaw.fix


def test_windows_line_ends_are_fine() -> None:
    text, flaw = decode(b"a: 1\r\nb: 2\r\n")
    assert flaw is None
    tree = parse(text)
    assert tree.data == {"a": 1, "b": 2}
    assert tree.keys["b",] == (2, 1)
