"""What a choice keeps to, whatever the routing table and the policy are."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.select import named_policy
from orchestrator.values.choice import Choice
from orchestrator.values.policy import Tier
from orchestrator.values.routing import RoutingTable
from orchestrator.values.spec import ModelState
from tests.decide.test_select import chosen, failed, loading, on_demand, policy, ready, stalled, table

NAMES = st.sampled_from(["a", "b", "c", "d"])
CAPABILITIES = st.sets(st.sampled_from(["chat", "embedding"]), min_size=1)


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable:
    routes = []
    for name in draw(st.sets(NAMES)):
        made = draw(st.sampled_from([ready, loading, stalled, failed, on_demand]))(name)
        state = draw(st.sampled_from(list(ModelState)))
        able = tuple(sorted(draw(CAPABILITIES)))
        routes.append(replace(made, state=state, capabilities=able, remote=draw(st.booleans())))
    order = draw(st.lists(NAMES, min_size=1, unique=True))
    more = draw(st.lists(NAMES, unique=True))
    tiers = draw(st.sampled_from([(Tier.LOCAL,), (Tier.LOCAL, Tier.REMOTE)]))
    made_policy = policy(*order, fallback=tuple(more), default=draw(st.booleans()))
    return table(*routes, policies=(replace(made_policy, tiers=tiers),))


REQUESTED = st.sampled_from(["a", "b", "auto", "policy/daily", "policy/other", "e"])
WITHOUT = st.dictionaries(NAMES, st.just("its queue is full"), max_size=2)


@given(REQUESTED, tables(), st.booleans())
def test_a_choice_can_serve_the_endpoint_or_be_waited_for(
    requested: str,
    routes: RoutingTable,
    egress: bool,  # noqa: FBT001 (drawn)
) -> None:
    choice = chosen(requested, routes, egress=egress)
    if isinstance(choice, Choice):
        route = routes.routes[choice.model]
        assert "chat" in route.capabilities
        assert route.state is not ModelState.ABSENT
        assert route.replica is not None or not route.stalled
        assert choice.model not in dict(choice.passed_over)


@given(REQUESTED, tables(), st.booleans())
def test_nothing_remote_is_chosen_unless_both_files_say_so(
    requested: str,
    routes: RoutingTable,
    egress: bool,  # noqa: FBT001 (drawn)
) -> None:
    choice = chosen(requested, routes, egress=egress)
    if isinstance(choice, Choice) and routes.routes[choice.model].remote:
        assert egress
        assert Tier.REMOTE in routes.policies["daily"].tiers


@given(tables(), st.booleans(), WITHOUT)
def test_a_policy_picks_the_first_that_can_answer_and_waits_only_where_none_can(
    routes: RoutingTable,
    egress: bool,  # noqa: FBT001 (drawn)
    without: dict[str, str],
) -> None:
    choice = chosen("policy/daily", routes, egress=egress, without=without)
    daily = routes.policies["daily"]
    named = [routes.routes[name] for name in (*daily.otherwise, *daily.fallback) if name in routes.routes]
    able = [r for r in named if r.state is ModelState.ACTIVE and "chat" in r.capabilities]
    allowed = egress and Tier.REMOTE in daily.tiers
    usable = [r for r in able if (allowed or not r.remote) and r.model not in without]
    held = [r for r in usable if r.replica is None and (r.stalled or r.retry_at)]
    if isinstance(choice, Choice):
        answers = [r for r in usable if r.replica or (r.on_demand and r not in held)]
        may_get_ready = [r for r in usable if r not in held] + [r for r in held if not r.stalled]
        assert choice.model == [*answers, *may_get_ready][0].model
    else:
        assert all(route.replica is None and route.stalled for route in usable)
        active = any(route.state is ModelState.ACTIVE for route in named)
        assert choice.status == (503 if able or not active else 400)


@given(REQUESTED, tables(), WITHOUT)
def test_a_named_model_is_never_replaced_by_another(
    requested: str, routes: RoutingTable, without: dict[str, str]
) -> None:
    choice = chosen(requested, routes, without=without)
    if isinstance(choice, Choice) and named_policy(requested, routes) is None:
        assert (choice.model, choice.policy, choice.passed_over) == (requested, "", ())
