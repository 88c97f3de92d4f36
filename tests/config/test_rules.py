"""Rule tables and tiers: what they become, and every mistake in them."""

import pytest

from orchestrator.config import draft
from orchestrator.config.check import check, hints
from orchestrator.config.show import render
from orchestrator.values.policy import Bounds, RoutingPolicy, Rule, Tier, When
from orchestrator.values.settings import Settings
from tests.config.engines import ENGINES
from tests.config.files import ONE, Folder, put, start
from tests.config.test_draft import AROUND

BASE = "kind: routing\notherwise: [a]\n"


def policy(text: str) -> RoutingPolicy:
    found = draft.policy("p", "p.yaml", (BASE + text).encode(), AROUND)
    assert not found.problems
    assert found.value is not None
    return found.value


def problem(rule: str) -> str:
    text = f"{BASE}rules:\n  - {rule}\n"
    (found,) = draft.policy("p", "p.yaml", text.encode(), AROUND).problems
    assert found.line == 4
    return render(found)


def test_a_table_with_everything() -> None:
    found = policy(
        "rules:\n"
        "  - when: {priority: {at_least: 9}, complexity: {above: 0.3, at_most: 0.7}}\n"
        "    use: [b, a]\n"
        "  - when: {estimated_tokens: {below: 100}, task: code}\n"
        "    prefer: [c]\n"
        "  - when: {task: [x, y]}\n"
        "    use: [d]\n"
        "tiers: [local, remote]\n"
    )
    assert found.rules == (
        Rule(
            when=When(priority=Bounds(at_least=9), complexity=Bounds(above=0.3, at_most=0.7)), use=("b", "a")
        ),
        Rule(when=When(estimated_tokens=Bounds(below=100), tasks=("code",)), prefer=("c",)),
        Rule(when=When(tasks=("x", "y")), use=("d",)),
    )
    assert found.tiers == (Tier.LOCAL, Tier.REMOTE)


@pytest.mark.parametrize(
    "other",
    [
        "tiers: [remote]\n",
        "rules: [{when: {task: x}, use: [b]}]\n",
        "rules: [{when: {task: x}, prefer: [b]}]\n",
        "rules: [{when: {task: y}, use: [b]}]\n",
        "rules: [{when: {priority: {above: 1}}, use: [b]}]\n",
        "rules: [{when: {complexity: {above: 1}}, use: [b]}]\n",
    ],
)
def test_each_of_it_is_part_of_the_meaning(other: str) -> None:
    plain = "rules: [{when: {task: x}, use: [a]}]\n"
    meanings = [
        draft.policy("p", "p.yaml", (BASE + text).encode(), AROUND).meaning for text in (other, plain, "")
    ]
    assert len(set(meanings)) == 3


@pytest.mark.parametrize(
    ("rule", "what", "fix"),
    [
        ("{use: [a]}", "rules: 'when' is missing", "`when: {priority: {at_least: 9}}`"),
        ("{when: {task: x}}", "write either 'use' or 'prefer'", "`use: [quality]`"),
        ("{when: {task: x}, use: [a], prefer: [b]}", "write either 'use' or 'prefer'", "keep one of the two"),
        ("{when: {}, use: [a]}", "rules.when: the mapping is empty", "such as {priority: {at_least: 9}}"),
        ("{when: {priority: 9}, use: [a]}", "9 is not a mapping", "say which side of it is meant (at_least,"),
        ("{when: {priority: {}}, use: [a]}", "the mapping is empty", "such as {at_least: 9}"),
        ("{when: {priority: {over: 9}}, use: [a]}", "'over' is not a field", "did you mean 'above'?"),
        ("{when: {priority: {above: 11}}, use: [a]}", "11 is out of range", "from 0 to 10"),
        ("{when: {priority: {above: high}}, use: [a]}", "'high' is not a number", "from 0 to 10"),
        ("{when: {complexity: {above: 2}}, use: [a]}", "2 is out of range", "from 0 to 1"),
        ("{when: {complexity: {above: 0.7, below: 0.3}}, use: [a]}", "no number is all of that", "two rules"),
        ("{when: {priority: {at_least: 5, below: 5}}, use: [a]}", "no number is all of that", "two rules"),
        ("{when: {tasks: x}, use: [a]}", "'tasks' is not a field", "did you mean 'task'?"),
        ("{when: {task: Code Review}, use: [a]}", "'Code Review' cannot be used here", "code_generation"),
        ("{when: {task: []}, use: [a]}", "the list is empty", "code_generation"),
        ("{when: {task: 3}, use: [a]}", "3 is not a text or a list", "code_generation"),
        ("{when: {task: [x, x]}, use: [a]}", "'x' is given twice", "keep one"),
        ("{when: {task: x}, use: a}", "rules.use: 'a' is not a list", "write it as a list: [a]"),
        ("{when: {task: x}, use: []}", "rules.use: the list is empty", "[quality]"),
        ("{when: {task: x}, use: [a], weights: {}}", "'weights' is not a field", "use one of: when, use"),
        ("x", "'x' is not a mapping", "{when: {task: code_generation}, use: [coder]}"),
    ],
)
def test_mistakes_in_a_rule(rule: str, what: str, fix: str) -> None:
    shown = problem(rule)
    assert what in shown
    assert fix in shown


def test_bounds_that_one_number_keeps_to_are_fine() -> None:
    found = policy("rules: [{when: {priority: {at_least: 5, at_most: 5}}, use: [a]}]\n")
    when = found.rules[0].when
    assert when.priority is not None
    assert when.priority.admits(5)


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("tiers: [cloud]\n", "'cloud' is not known", "use one of: local, remote"),
        ("tiers: remote\n", "'remote' is not a list", "[remote]"),
        ("tiers: []\n", "the list is empty", "such as [local, remote]"),
    ],
)
def test_mistakes_in_tiers(text: str, what: str, fix: str) -> None:
    (found,) = draft.policy("p", "p.yaml", (BASE + text).encode(), AROUND).problems
    assert what in found.what
    assert fix in found.fix


def test_a_model_that_a_rule_names_has_to_be_there(folder: Folder) -> None:
    put(folder.models, "slow", ONE)
    put(
        folder.policies,
        "p",
        "kind: routing\nrules:\n  - when: {task: x}\n    use: [fast, slwo]\n"
        "  - when: {task: y}\n    prefer: [none]\notherwise: [fast]\n",
    )
    problems = folder.scan().problems
    assert [(p.where, p.what, p.fix) for p in problems] == [
        ("policies/p.yaml:4:17", "rules.use: there is no model 'slwo'", "did you mean 'slow'?"),
        (
            "policies/p.yaml:6:14",
            "rules.prefer: there is no model 'none'",
            "use one of: fast, slow; or add models.d/none.yaml",
        ),
    ]


NEVER = "without `egress: true` in orchestrator.yaml it is never asked"
REMOTE = "engine: openai\nsource: m\nendpoint: https://example.org/v1\npaid: true\n"


def test_hints_about_remote_models(folder: Folder) -> None:
    start(folder.root, cloud=REMOTE)
    put(folder.policies, "p", "kind: routing\ndefault: true\notherwise: [fast]\nfallback: [cloud]\n")
    reading = check(folder.root, {}, ENGINES)
    assert not reading.problems
    free = "models.d/cloud.yaml: it is paid and has no `prices`, so its requests are counted as free"
    tiers = "policies/p.yaml: its `tiers` lack `remote`, so it never picks cloud"
    assert hints(reading, Settings(egress=True)) == (free, tiers)
    assert hints(reading, Settings()) == (
        f"models.d/cloud.yaml: it costs money, and {NEVER}",
        free,
        tiers,
    )
    start(folder.root, cloud=REMOTE + "state: absent\n")
    assert hints(check(folder.root, {}, ENGINES), Settings()) == (tiers,)
    put(folder.policies, "p", "kind: routing\ndefault: true\notherwise: [cloud]\ntiers: [remote]\n")
    start(folder.root, cloud=REMOTE.replace("paid: true\n", ""))
    assert hints(check(folder.root, {}, ENGINES), Settings()) == (
        f"models.d/cloud.yaml: it is beyond the machine's own networks, and {NEVER}",
    )
    start(folder.root, cloud=REMOTE + "prices: {input_per_million: 1}\n")
    assert hints(check(folder.root, {}, ENGINES), Settings(egress=True)) == ()


def test_a_hint_about_a_time_that_says_nothing(folder: Folder) -> None:
    start(folder.root, fast=ONE + "idle: 5m\n")
    put(folder.policies, "p", "kind: routing\ndefault: true\notherwise: [fast]\n")
    found = hints(check(folder.root, {}, ENGINES))
    assert found == ("models.d/fast.yaml: `idle` says nothing without `load: on-demand`",)
    start(folder.root, fast=ONE + "idle: 5m\nload: on-demand\n")
    assert hints(check(folder.root, {}, ENGINES)) == ()
