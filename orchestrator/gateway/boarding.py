"""From a request to a ready replica and the lease on it."""

import asyncio
from dataclasses import replace
from typing import Final

from orchestrator import clock
from orchestrator.decide.features import Features
from orchestrator.decide.pick import Terms
from orchestrator.decide.select import named_policy, select
from orchestrator.errors import RequestError
from orchestrator.gateway import answer, features, refusals
from orchestrator.gateway.body import Ask, Endpoint
from orchestrator.gateway.client import Client
from orchestrator.gateway.patience import Patience
from orchestrator.gateway.ports import Lease, Leases, Place
from orchestrator.gateway.record import Record
from orchestrator.values.choice import Refusal
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.settings import Settings

# How long to wait for a new table before a worker that took no connection is
# tried again. A guess: a kill is noticed by the daemon in under 0.1 s.
RETRY_PAUSE_S: Final = 0.25


class Boarding:
    """Finds the replica for a request and takes the lease on it, waiting for a model that is not ready.

    All waits of one request together last at most `wait_for_model_s`, and it
    keeps its rank in the queues even where it has to come back.
    """

    def __init__(
        self, ask: Ask, endpoint: Endpoint, client: Client, record: Record, patience: Patience
    ) -> None:
        self._ask = ask
        self._features = ask.features
        self._endpoint = endpoint
        self._client = client
        self._record = record
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._arrived_s = self._loop.time()
        self._began_s: float | None = None
        self._without: dict[str, str] = {}
        self._refused: RequestError | None = None

    async def board(self, leases: Leases, settings: Settings) -> tuple[Route, Lease]:
        """Return a ready route of the newest table and the lease on its replica.

        Does not suspend where the model is ready and nobody waits for it.
        Where the model of a policy has too long a queue, or is not ready in
        time, the policy's next one is used if it is ready.

        Raises:
            RequestError: no model can answer, or none was ready in time.
        """
        if leases.table.epoch == 0:
            await self._until_known(leases, settings)
        place: Place | None = None
        try:
            while True:
                route = self._choose(leases.table, settings)
                waited_here = place is not None and place.model == route.model
                if route.replica is not None and (waited_here or not leases.queued(route.model)):
                    self._note_wait()
                    return route, leases.take(route)
                if place is None or place.model != route.model:
                    refused = self._full(route, leases, settings)
                    if refused is not None:
                        self._do_without(route, "its queue is full", refused)
                        continue
                    if place is not None:
                        place.leave()
                    place = leases.enter(
                        route.model, priority=self._features.priority, arrived_s=self._arrived_s
                    )
                left_s = self._left_s(settings)
                if left_s <= 0 and route.replica is None:
                    late = refusals.not_ready(route, clock.now(), settings.wait_for_model_s)
                    self._do_without(route, "it was not ready in time", late)
                    continue
                await self._wait(place, route, left_s)
        finally:
            if place is not None:
                place.leave()

    async def pause(self, leases: Leases, settings: Settings, epoch: int) -> None:
        """Return when there is a newer table than `epoch`, or it is time for another try.

        Raises:
            RequestError: the request has waited for long enough.
        """
        left_s = self._left_s(settings)
        if left_s <= 0:
            raise refusals.does_not_answer(self._record.model, settings.wait_for_model_s)
        await leases.changed(epoch, min(left_s, RETRY_PAUSE_S))

    async def _until_known(self, leases: Leases, settings: Settings) -> None:
        """Wait for the first table: a daemon that has just started does not know its models yet."""
        if self._client.draining:
            raise answer.draining()
        self._client.waits(waits=True)
        try:
            first = await leases.changed(0, self._left_s(settings))
        finally:
            self._client.waits(waits=False)
        if first is None:
            raise refusals.nothing_known(settings.wait_for_model_s)

    def _choose(self, table: RoutingTable, settings: Settings) -> Route:
        terms = Terms(
            capability=self._endpoint.capability,
            now=clock.now(),
            features=self._seen_by_rules(table),
            egress=settings.egress,
            without=self._without,
        )
        choice = select(self._ask.requested, table, terms)
        if isinstance(choice, Refusal):
            self._record.policy = choice.policy
            self._record.why = choice.what
            raise self._refused or refusals.not_selected(choice)
        route = table.routes[choice.model]
        self._record.chosen(choice, route)
        return route

    def _seen_by_rules(self, table: RoutingTable) -> Features:
        """Return the features, with the length of the prompt once there are rules that may ask for it."""
        if self._features.estimated_tokens is None:
            policy = named_policy(self._ask.requested, table)
            if isinstance(policy, RoutingPolicy) and policy.rules:
                tokens = features.prompt_tokens(self._ask.fields)
                self._features = replace(self._features, estimated_tokens=tokens)
        return self._features

    def _full(self, route: Route, leases: Leases, settings: Settings) -> RequestError | None:
        """Return the answer where no more requests may wait for the model."""
        if route.replica is None and leases.queued(route.model) >= settings.wait_queue:
            return refusals.queue_full(route, clock.now(), leases.queued(route.model))
        return None

    def _do_without(self, route: Route, why: str, refused: RequestError) -> None:
        """Have the policy choose another model; raise `refused` where the request named this one."""
        self._refused = self._refused or refused
        if not self._record.policy:
            raise self._refused
        self._without[route.model] = why

    async def _wait(self, place: Place, route: Route, left_s: float) -> None:
        if self._client.draining:
            raise answer.draining()
        usual = self._patience.at_deadline
        self._patience.at_deadline = refusals.not_ready(route, clock.now(), self._patience.deadline_s)
        self._client.waits(waits=True)
        try:
            await place.called(left_s)
        finally:
            self._client.waits(waits=False)
        self._patience.at_deadline = usual

    def _left_s(self, settings: Settings) -> float:
        """Return how long the request may still wait; asking begins the wait."""
        now_s = self._loop.time()
        if self._began_s is None:
            self._began_s = now_s
        return self._began_s + settings.wait_for_model_s - now_s

    def _note_wait(self) -> None:
        if self._began_s is not None:
            self._record.why += f"; waited {self._loop.time() - self._began_s:.1f} s"
