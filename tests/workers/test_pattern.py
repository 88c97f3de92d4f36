import pytest

from orchestrator.workers.pattern import PatternRefused, pattern_rule


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", "a closing parenthesis is missing"),
        ("a)", "a closing parenthesis without an opening one"),
        ("[a", "a closing bracket is missing"),
        ("\\", "a character after the backslash is missing"),
        ("(?=a)", "look around"),
        ("(?P<n>a)", "look around or have names"),
        ("a(^b)", "'^' is not supported here"),
        ("*", "'*' is not supported here"),
        ("a+?", "one count after another"),
        ("((a?){50}){50}", "what may be empty cannot be repeated"),
        ("(a*|b){2}", "what may be empty cannot be repeated"),
        ("a?" * 65, "more than 64 parts that may be missing"),
        ("a{,3}", "a count must be"),
        ("a{1", "a count must be"),
        ("a{3,2}", "a count must rise"),
        ("a{1000000000}", "up to 1024"),
        ("[z-a]", "does not rise"),
        (r"[\d-z]", "does not rise"),
        (r"[a-\w]", "does not rise"),
        ("[]", "no text of JSON"),
        (r"\bword", r"\b is not supported"),
        (r"\xzz", "hexadecimal"),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_place(pattern: str, why: str) -> None:
    with pytest.raises(PatternRefused) as raised:
        pattern_rule(pattern)
    assert why in str(raised.value)


@pytest.mark.parametrize(
    "pattern", ["]", "}", "", "^$", "a||b", "()", "(?:a|b)+", "[-a]", "[a-]", "x{0}", r"\u00e9\."]
)
def test_odd_but_right_patterns_are_read_to_their_end(pattern: str) -> None:
    assert pattern_rule(pattern)


def test_characters_come_as_json_writes_them() -> None:
    assert pattern_rule('^"$') == r'(("\\\""))'
    assert pattern_rule(r"^\\$") == r'(("\\\\"))'
    assert pattern_rule(r"^\n$") == r'(("\\n"))'


def test_a_set_never_lets_a_raw_quote_through() -> None:
    rule = pattern_rule("^[ -~]$")
    assert r"[\U00000020-\U00000021\U00000023-\U0000005B\U0000005D-\U0000007E]" in rule
    assert r'"\\\""' in rule


def test_anchors_bind_each_alternative_for_itself() -> None:
    first, second = pattern_rule("^a|b$").split(" | [", 1)[0], pattern_rule("^a|b$")
    assert first.startswith(r"(([\U00000061-\U00000061])")
    assert second.endswith(r"([\U00000062-\U00000062]))")
