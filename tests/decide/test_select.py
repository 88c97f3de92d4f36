from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.select import Refusal, named_policy, select
from orchestrator.values.choice import Choice
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.spec import ModelState, Sampling


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


def table(*routes: Route, policies: tuple[RoutingPolicy, ...] = ()) -> RoutingTable:
    return RoutingTable(
        epoch=1,
        routes={route.model: route for route in routes},
        policies={policy.name: policy for policy in policies},
        default_policy=next((policy.name for policy in policies if policy.default), None),
    )


def policy(*otherwise: str, fallback: tuple[str, ...] = (), default: bool = True) -> RoutingPolicy:
    return RoutingPolicy(name="daily", default=default, otherwise=otherwise, fallback=fallback)


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
    choice = select(requested, routes, capability="chat")
    assert choice == Choice(model=model, policy=name, why=why, passed_over=passed_over), sentence


REFUSALS = [
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
    refusal = select(requested, routes, capability="chat")
    assert isinstance(refusal, Refusal), sentence
    assert refusal.status == status
    assert part in f"{refusal.what}. {refusal.fix}"


NAMES = st.sampled_from(["a", "b", "c", "d"])
CAPABILITIES = st.sets(st.sampled_from(["chat", "embedding"]), min_size=1)


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable:
    routes = []
    for name in draw(st.sets(NAMES)):
        made = draw(st.sampled_from([ready, loading, stalled]))(name)
        state = draw(st.sampled_from(list(ModelState)))
        routes.append(replace(made, state=state, capabilities=tuple(sorted(draw(CAPABILITIES)))))
    order = draw(st.lists(NAMES, min_size=1, unique=True))
    more = draw(st.lists(NAMES, unique=True))
    return table(*routes, policies=(policy(*order, fallback=tuple(more), default=draw(st.booleans())),))


REQUESTED = st.sampled_from(["a", "b", "auto", "policy/daily", "policy/other", "e"])


@given(REQUESTED, tables())
def test_a_choice_can_serve_the_endpoint_or_be_waited_for(requested: str, routes: RoutingTable) -> None:
    choice = select(requested, routes, capability="chat")
    if isinstance(choice, Choice):
        route = routes.routes[choice.model]
        assert "chat" in route.capabilities
        assert route.state is not ModelState.ABSENT
        assert route.replica is not None or not route.stalled
        assert choice.model not in dict(choice.passed_over)


@given(tables())
def test_a_policy_picks_active_models_only_and_never_waits_while_one_is_ready(routes: RoutingTable) -> None:
    choice = select("policy/daily", routes, capability="chat")
    chosen = routes.policies["daily"]
    usable = [
        route
        for name in (*chosen.otherwise, *chosen.fallback)
        if (route := routes.routes.get(name))
        and route.state is ModelState.ACTIVE
        and "chat" in route.capabilities
    ]
    if isinstance(choice, Choice):
        assert routes.routes[choice.model] in usable
        best = next((r for r in usable if r.replica), next((r for r in usable if not r.stalled), None))
        assert best is not None
        assert choice.model == best.model
    else:
        assert all(route.replica is None and route.stalled for route in usable)
        named = [
            routes.routes[name] for name in (*chosen.otherwise, *chosen.fallback) if name in routes.routes
        ]
        active = any(route.state is ModelState.ACTIVE for route in named)
        assert choice.status == (503 if usable or not active else 400)


@given(REQUESTED, tables())
def test_a_named_model_is_never_replaced_by_another(requested: str, routes: RoutingTable) -> None:
    choice = select(requested, routes, capability="chat")
    if isinstance(choice, Choice) and named_policy(requested, routes) is None:
        assert (choice.model, choice.policy, choice.passed_over) == (requested, "", ())
