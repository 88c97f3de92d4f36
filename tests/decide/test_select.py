from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.decide.features import Features
from orchestrator.decide.pick import Terms
from orchestrator.decide.select import select
from orchestrator.values.choice import Choice, Refusal
from orchestrator.values.policy import Bounds, RoutingPolicy, Rule, Tier, When
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.spec import ModelState, Sampling

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def ready(model: str, *capabilities: str, state: ModelState = ModelState.ACTIVE) -> Route:
    return Route(
        model=model,
        state=state,
        capabilities=capabilities or ("chat", "completion"),
        sampling=Sampling(),
        replica=f"{model}-1",
        revision="r1",
        socket="/s",
    )


def loading(model: str) -> Route:
    return replace(ready(model), replica=None, revision=None, socket=None, unready="it is loading")


def stalled(model: str) -> Route:
    return replace(loading(model), unready="its file is gone", stalled=True)


def failed(model: str) -> Route:
    """A route whose next try is held back."""
    return replace(loading(model), unready="it failed", retry_at=NOW + timedelta(seconds=9))


def on_demand(model: str) -> Route:
    return replace(loading(model), unready="it is not loaded", on_demand=True)


def remote(model: str) -> Route:
    return replace(ready(model), remote=True)


def table(*routes: Route, policies: tuple[RoutingPolicy, ...] = ()) -> RoutingTable:
    return RoutingTable(
        epoch=1,
        routes={route.model: route for route in routes},
        policies={policy.name: policy for policy in policies},
        default_policy=next((policy.name for policy in policies if policy.default), None),
    )


def policy(*otherwise: str, fallback: tuple[str, ...] = (), default: bool = True) -> RoutingPolicy:
    return RoutingPolicy(name="daily", default=default, otherwise=otherwise, fallback=fallback)


def open_policy(*otherwise: str) -> RoutingPolicy:
    """A policy that remote models may take part in."""
    return replace(policy(*otherwise), tiers=(Tier.LOCAL, Tier.REMOTE))


def chosen(requested: str, routes: RoutingTable, **terms: Any) -> Choice | Refusal:  # noqa: ANN401 (any term)
    """Choose for a chat, now."""
    return select(requested, routes, Terms(capability="chat", now=NOW, **terms))


TESTING, DEPRECATED, ABSENT = ModelState.TESTING, ModelState.DEPRECATED, ModelState.ABSENT

CHOICES = [
    ("a name is taken at its word", "a", table(ready("a")), ("a", "", "named by the request", ())),
    (
        "a model in testing answers when named",
        "a",
        table(ready("a", state=TESTING)),
        ("a", "", "named by the request", ()),
    ),
    (
        "so does a deprecated one",
        "a",
        table(ready("a", state=DEPRECATED)),
        ("a", "", "named by the request", ()),
    ),
    (
        "a named model that loads is waited for",
        "a",
        table(loading("a")),
        ("a", "", "named by the request", ()),
    ),
    (
        "auto is the default policy",
        "auto",
        table(ready("a"), policies=(policy("a"),)),
        ("a", "daily", "choice 1 of policy daily", ()),
    ),
    (
        "a policy can be named",
        "policy/daily",
        table(ready("a"), policies=(policy("a", default=False),)),
        ("a", "daily", "choice 1 of policy daily", ()),
    ),
    (
        "a ready candidate goes before an earlier one that loads",
        "auto",
        table(loading("a"), ready("b"), policies=(policy("a", "b"),)),
        ("b", "daily", "choice 2 of policy daily", (("a", "not ready: it is loading"),)),
    ),
    (
        "a ready fallback goes before a candidate that loads",
        "auto",
        table(loading("a"), ready("b"), policies=(policy("a", fallback=("b",)),)),
        ("b", "daily", "fallback 1 of policy daily", (("a", "not ready: it is loading"),)),
    ),
    (
        "a model that is both candidate and fallback counts once",
        "auto",
        table(stalled("a"), ready("b"), policies=(policy("a", fallback=("a", "b")),)),
        ("b", "daily", "fallback 1 of policy daily", (("a", "not ready: its file is gone"),)),
    ),
    (
        "of those that may get ready the first is waited for, and no stalled one",
        "auto",
        table(stalled("a"), loading("b"), loading("c"), policies=(policy("a", "b", "c"),)),
        ("b", "daily", "choice 2 of policy daily", (("a", "not ready: its file is gone"),)),
    ),
    (
        "a model on demand is waited for in its place, though a later one is loaded",
        "auto",
        table(on_demand("a"), ready("b"), policies=(policy("a", fallback=("b",)),)),
        ("a", "daily", "choice 1 of policy daily", ()),
    ),
    (
        "a model on demand that is out of order is passed over",
        "auto",
        table(replace(on_demand("a"), stalled=True), ready("b"), policies=(policy("a", "b"),)),
        ("b", "daily", "choice 2 of policy daily", (("a", "not ready: it is not loaded"),)),
    ),
    (
        "so is one that failed and is tried again later",
        "auto",
        table(replace(failed("a"), on_demand=True), ready("b"), policies=(policy("a", "b"),)),
        ("b", "daily", "choice 2 of policy daily", (("a", "not ready: it failed"),)),
    ),
    (
        "one whose next try is due is asked for again",
        "auto",
        table(replace(on_demand("a"), retry_at=NOW), ready("b"), policies=(policy("a", "b"),)),
        ("a", "daily", "choice 1 of policy daily", ()),
    ),
    (
        "a model that should be loaded and is not is passed over for one on demand",
        "auto",
        table(loading("a"), on_demand("b"), ready("c"), policies=(policy("a", "b", "c"),)),
        ("b", "daily", "choice 2 of policy daily", (("a", "not ready: it is loading"),)),
    ),
    (
        "what loads is waited for rather than what failed",
        "auto",
        table(failed("a"), loading("b"), loading("c"), policies=(policy("a", "b", "c"),)),
        ("b", "daily", "choice 2 of policy daily", (("a", "not ready: it failed"),)),
    ),
    (
        "what failed is waited for where there is nothing else",
        "auto",
        table(failed("a"), failed("b"), policies=(policy("a", "b"),)),
        ("a", "daily", "choice 1 of policy daily", ()),
    ),
    (
        "a named model that failed is waited for",
        "a",
        table(failed("a")),
        ("a", "", "named by the request", ()),
    ),
    (
        "a remote model takes part in no policy whose tiers are local",
        "auto",
        table(remote("a"), ready("b"), policies=(policy("a", "b"),)),
        (
            "b",
            "daily",
            "choice 2 of policy daily",
            (("a", "it is remote, and the policy's tiers are local only"),),
        ),
    ),
    (
        "nor in any while egress is off",
        "auto",
        table(remote("a"), ready("b"), policies=(open_policy("a", "b"),)),
        ("b", "daily", "choice 2 of policy daily", (("a", "it is remote, and egress is off"),)),
    ),
    (
        "what is unknown, not active or not able is passed over",
        "auto",
        table(
            ready("b", state=TESTING),
            ready("c", "embedding"),
            ready("d"),
            policies=(policy("a", "b", "c", "d"),),
        ),
        (
            "d",
            "daily",
            "choice 4 of policy daily",
            (("a", "no such model"), ("b", "its state is testing"), ("c", "does not do chat")),
        ),
    ),
]


@pytest.mark.parametrize(("sentence", "requested", "routes", "wanted"), CHOICES, ids=[c[0] for c in CHOICES])
def test_choice(
    sentence: str,
    requested: str,
    routes: RoutingTable,
    wanted: tuple[str, str, str, tuple[tuple[str, str], ...]],
) -> None:
    model, name, why, passed_over = wanted
    choice = chosen(requested, routes)
    assert choice == Choice(model=model, policy=name, why=why, passed_over=passed_over), sentence


def test_a_remote_model_answers_where_both_files_say_so() -> None:
    routes = table(remote("a"), ready("b"), policies=(open_policy("a", "b"),))
    by_policy = chosen("auto", routes, egress=True)
    assert by_policy == Choice(model="a", policy="daily", why="choice 1 of policy daily")
    named = chosen("a", routes, egress=True)
    assert named == Choice(model="a", policy="", why="named by the request")


def test_the_rules_of_a_policy_see_the_request() -> None:
    rule = Rule(when=When(priority=Bounds(at_least=9)), use=("b",))
    routes = table(ready("a"), ready("b"), policies=(replace(policy("a"), rules=(rule,)),))
    choice = chosen("auto", routes, features=Features(priority=9))
    assert choice == Choice(
        model="b", policy="daily", why="choice 1 of rule 1 of policy daily (priority 9)", passed_over=()
    )
    assert chosen("a", routes, features=Features(priority=9)) == Choice(
        model="a", policy="", why="named by the request"
    )


def test_a_policy_does_without_what_it_is_told_and_a_named_model_is_taken_at_its_word() -> None:
    routes = table(on_demand("a"), ready("b"), policies=(policy("a", "b"),))
    without = {"a": "its queue is full"}
    choice = chosen("auto", routes, without=without)
    assert isinstance(choice, Choice)
    assert (choice.model, choice.passed_over) == ("b", (("a", "its queue is full"),))
    named = chosen("a", routes, without=without)
    assert isinstance(named, Choice)


def test_a_named_remote_model_is_403_with_both_places_that_have_to_allow_it() -> None:
    for routes, egress, part in (
        (table(remote("a"), policies=(open_policy("a"),)), False, "egress is off"),
        (table(remote("a"), policies=(policy("a"),)), True, "no policy has the tier `remote`"),
        (table(remote("a")), False, "egress is off"),
    ):
        refusal = chosen("a", routes, egress=egress)
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.code) == (403, "egress_not_allowed")
        assert part in refusal.what
        assert "orchestrator.yaml" in refusal.fix
        assert "tiers: [local, remote]" in refusal.fix


REFUSALS = [
    (
        "a policy that may not use any of its models is no fault of the request",
        "auto",
        table(remote("a"), policies=(policy("a"),)),
        503,
        "(a: it is remote, and the policy's tiers are local only)",
    ),
    (
        "an unknown name is 404 with the nearest",
        "fasst",
        table(ready("fast"), ready("big")),
        404,
        "did you mean 'fast'?",
    ),
    ("capitals are no other name", "FAST", table(ready("fast")), 404, "did you mean 'fast'?"),
    (
        "no active candidate is no fault of the request",
        "policy/daily",
        table(ready("a", state=ModelState.TESTING), policies=(policy("a"),)),
        503,
        "a: its state is testing",
    ),
    ("and with the list of names", "zzz", table(ready("fast"), ready("big")), 404, "use one of: fast, big"),
    (
        "an absent model is as good as unknown",
        "a",
        table(ready("a", state=ABSENT)),
        404,
        "there is no model 'a'",
    ),
    ("no model at all: the fix is a file", "a", table(), 404, "add a file to models.d/"),
    ("auto without a default policy", "auto", table(ready("a")), 404, "write `default: true`"),
    (
        "an unknown policy, with the nearest",
        "policy/dayly",
        table(ready("a"), policies=(policy("a"),)),
        404,
        "did you mean 'policy/daily'?",
    ),
    (
        "the list names policies and auto",
        "x",
        table(policies=(policy("a"),)),
        404,
        "use one of: policy/daily, auto",
    ),
    (
        "a named model without the capability",
        "a",
        table(ready("a", "embedding")),
        400,
        "does not do chat, only embedding",
    ),
    ("with models that have it", "a", table(ready("a", "embedding"), ready("b")), 400, "use b"),
    ("or without any", "a", table(ready("a", "embedding")), 400, "no model here has the capability chat"),
    ("a named model that stalled", "a", table(stalled("a")), 503, "its file is gone"),
    (
        "a policy whose models all stalled, with the reason of each",
        "auto",
        table(stalled("a"), ready("b", "embedding"), policies=(policy("a", fallback=("b",)),)),
        503,
        "(a: not ready: its file is gone; b: does not do chat)",
    ),
    (
        "a policy without a model that could ever answer",
        "auto",
        table(ready("b", "embedding"), policies=(policy("a", "b"),)),
        400,
        "(a: no such model; b: does not do chat)",
    ),
]


@pytest.mark.parametrize(
    ("sentence", "requested", "routes", "status", "part"), REFUSALS, ids=[r[0] for r in REFUSALS]
)
def test_refusal(sentence: str, requested: str, routes: RoutingTable, status: int, part: str) -> None:
    refusal = chosen(requested, routes)
    assert isinstance(refusal, Refusal), sentence
    assert refusal.status == status
    assert part in f"{refusal.what}. {refusal.fix}"
