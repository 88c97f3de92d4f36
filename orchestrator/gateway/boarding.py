"""From a request to a ready replica and the lease on it."""

from orchestrator import clock
from orchestrator.decide.select import select
from orchestrator.gateway import refusals
from orchestrator.gateway.body import Endpoint
from orchestrator.gateway.patience import Patience
from orchestrator.gateway.ports import Lease, Leases
from orchestrator.gateway.record import Record
from orchestrator.values.choice import Refusal
from orchestrator.values.routing import Route


class Boarding:
    """Finds the replica for a request and takes the lease on it, waiting for a model that is not ready.

    All waits of one request together last at most `wait_for_model_s`.
    """

    def __init__(
        self, requested: str, endpoint: Endpoint, record: Record, patience: Patience, leases: Leases
    ) -> None:
        self._requested = requested
        self._endpoint = endpoint
        self._record = record
        self._patience = patience
        self._leases = leases
        self._began_s: float | None = None

    async def board(self, wait_s: float) -> tuple[Route, Lease]:
        """Return a ready route of the newest table and the lease on its replica.

        Does not suspend where the model is ready.

        Raises:
            RequestError: no model can answer, or none was ready in time.
        """
        while True:
            table = self._leases.table
            choice = select(self._requested, table, capability=self._endpoint.capability)
            if isinstance(choice, Refusal):
                self._record.policy = choice.policy
                self._record.why = choice.what
                raise refusals.not_selected(choice)
            route = table.routes[choice.model]
            self._record.chosen(choice, route)
            if route.replica is not None:
                if self._began_s is not None:
                    self._record.why += f"; waited {clock.monotonic_s() - self._began_s:.1f} s"
                return route, self._leases.take(route)
            await self.wait(table.epoch, route.unready, wait_s)

    async def wait(self, epoch: int, why: str, wait_s: float, at_most_s: float = float("inf")) -> None:
        """Return when there is a newer table than `epoch`, or `at_most_s` have passed.

        Raises:
            RequestError: the request has waited for `wait_s` altogether.
        """
        now_s = clock.monotonic_s()
        if self._began_s is None:
            self._began_s = now_s
        left_s = self._began_s + wait_s - now_s
        usual = self._patience.at_deadline
        if left_s <= 0:
            raise refusals.not_ready(self._record.model, why, wait_s)
        self._patience.at_deadline = refusals.not_ready(self._record.model, why, self._patience.deadline_s)
        await self._leases.changed(epoch, min(left_s, at_most_s))
        self._patience.at_deadline = usual
