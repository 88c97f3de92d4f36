import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.features import Features, estimated_tokens
from orchestrator.decide.rules import candidates, holds
from orchestrator.values.policy import Bounds, RoutingPolicy, Rule, When

URGENT = When(priority=Bounds(at_least=9))
SHORT = When(estimated_tokens=Bounds(below=100))
CODE = When(tasks=("code_generation", "code_review"))
HARD = When(complexity=Bounds(above=0.7))

HOLDS = [
    ("a priority at the bound", URGENT, Features(priority=9), True),
    ("a priority below it", URGENT, Features(priority=8), False),
    ("the default priority is known", When(priority=Bounds(at_most=5)), Features(), True),
    ("a short prompt", SHORT, Features(estimated_tokens=99), True),
    ("a prompt of just that length is not below it", SHORT, Features(estimated_tokens=100), False),
    ("a prompt that nobody has measured", SHORT, Features(), False),
    ("one of the tasks", CODE, Features(task="code_review"), True),
    ("another task", CODE, Features(task="code"), False),
    ("no task", CODE, Features(), False),
    ("a complexity that is given", HARD, Features(complexity=0.8), True),
    ("one that is not given", HARD, Features(), False),
    ("all that is asked", When(priority=Bounds(above=5), tasks=("a",)), Features(priority=6, task="a"), True),
    (
        "only a part of it",
        When(priority=Bounds(above=5), tasks=("a",)),
        Features(priority=6, task="b"),
        False,
    ),
    (
        "both ends of a range",
        When(complexity=Bounds(at_least=0.3, at_most=0.7)),
        Features(complexity=0.7),
        True,
    ),
]


@pytest.mark.parametrize(("sentence", "when", "features", "wanted"), HOLDS, ids=[case[0] for case in HOLDS])
def test_when(sentence: str, when: When, features: Features, *, wanted: bool) -> None:
    assert holds(when, features) is wanted, sentence


# The rule table of the product's founding documents.
FAMILY = RoutingPolicy(
    name="daily",
    rules=(
        Rule(when=URGENT, use=("quality",)),
        Rule(when=SHORT, use=("fast",)),
        Rule(when=CODE, use=("coder", "primary")),
        Rule(when=HARD, prefer=("quality", "primary")),
    ),
    otherwise=("primary", "coder"),
    fallback=("fast", "primary"),
)

ORDERS = [
    (
        "no rule holds: otherwise, then fallback",
        Features(estimated_tokens=500),
        [
            ("primary", "choice 1 of policy daily"),
            ("coder", "choice 2 of policy daily"),
            ("fast", "fallback 1 of policy daily"),
        ],
    ),
    (
        "use stands in place of otherwise",
        Features(priority=9, estimated_tokens=500),
        [
            ("quality", "choice 1 of rule 1 of policy daily (priority 9)"),
            ("fast", "fallback 1 of policy daily, after rule 1 (priority 9)"),
            ("primary", "fallback 2 of policy daily, after rule 1 (priority 9)"),
        ],
    ),
    (
        "the first rule that holds decides, whatever later ones say",
        Features(priority=10, estimated_tokens=1, task="code_review", complexity=1.0),
        [
            ("quality", "choice 1 of rule 1 of policy daily (priority 10)"),
            ("fast", "fallback 1 of policy daily, after rule 1 (priority 10)"),
            ("primary", "fallback 2 of policy daily, after rule 1 (priority 10)"),
        ],
    ),
    (
        "a model that a rule and the fallback name comes once, in the place of the rule",
        Features(task="code_generation", estimated_tokens=500),
        [
            ("coder", "choice 1 of rule 3 of policy daily (task code_generation)"),
            ("primary", "choice 2 of rule 3 of policy daily (task code_generation)"),
            ("fast", "fallback 1 of policy daily, after rule 3 (task code_generation)"),
        ],
    ),
    (
        "prefer comes before otherwise, which stays",
        Features(complexity=0.9, estimated_tokens=500),
        [
            ("quality", "choice 1 of rule 4 of policy daily (complexity 0.9)"),
            ("primary", "choice 2 of rule 4 of policy daily (complexity 0.9)"),
            ("coder", "choice 2 of policy daily, after rule 4 (complexity 0.9)"),
            ("fast", "fallback 1 of policy daily, after rule 4 (complexity 0.9)"),
        ],
    ),
]


@pytest.mark.parametrize(("sentence", "features", "wanted"), ORDERS, ids=[case[0] for case in ORDERS])
def test_order(sentence: str, features: Features, wanted: list[tuple[str, str]]) -> None:
    assert [(c.model, c.why) for c in candidates(FAMILY, features)] == wanted, sentence


def test_the_reason_has_everything_the_rule_looked_at() -> None:
    when = When(
        priority=Bounds(above=1), tasks=("t",), estimated_tokens=Bounds(below=9), complexity=Bounds(below=1)
    )
    policy = RoutingPolicy(name="p", rules=(Rule(when=when, use=("a",)),), otherwise=("b",))
    features = Features(priority=7, task="t", estimated_tokens=3, complexity=0.5)
    why = next(candidates(policy, features)).why
    assert why.endswith("(priority 7, task t, estimated_tokens 3, complexity 0.5)")


NAMES = st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True).map(tuple)
SOME = st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True, min_size=1).map(tuple)
WHENS = st.sampled_from([URGENT, SHORT, CODE, HARD])
RULES = st.builds(lambda when, use: Rule(when=when, use=use), WHENS, SOME) | st.builds(
    lambda when, prefer: Rule(when=when, prefer=prefer), WHENS, SOME
)
POLICIES = st.builds(
    lambda rules, otherwise, fallback: RoutingPolicy(
        name="p", rules=tuple(rules), otherwise=otherwise, fallback=fallback
    ),
    st.lists(RULES, max_size=3),
    SOME,
    NAMES,
)
FEATURES = st.builds(
    Features,
    priority=st.integers(0, 10),
    task=st.sampled_from(["", "code_review"]),
    complexity=st.none() | st.floats(0, 1),
    estimated_tokens=st.none() | st.integers(0, 200),
)


@given(POLICIES, FEATURES)
def test_each_model_comes_once_and_the_fallback_is_always_there(
    policy: RoutingPolicy, features: Features
) -> None:
    names = [candidate.model for candidate in candidates(policy, features)]
    assert len(names) == len(set(names))
    assert set(policy.fallback) <= set(names)
    rule = next((rule for rule in policy.rules if holds(rule.when, features)), None)
    first = (rule.use or rule.prefer) if rule else policy.otherwise
    assert tuple(names[: len(first)]) == first
    kept = () if rule and rule.use else policy.otherwise
    assert set(names) == {*first, *kept, *policy.fallback}


@given(st.integers(0, 10_000))
def test_an_estimate_is_a_quarter_of_the_characters_rounded_up(characters: int) -> None:
    assert 0 <= estimated_tokens(characters) * 4 - characters < 4
