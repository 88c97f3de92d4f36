"""Which replica of ours has which weights on which server: a server has one runner for each."""

from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.engines.ollama.server import Server
from orchestrator.engines.ollama.stock import Stocked
from orchestrator.errors import LoadFailed
from orchestrator.values.spec import ModelSpec


class Claimant(Protocol):
    """One replica on one server."""

    server: Server
    spec: ModelSpec


@dataclass
class Claims:
    """Which replica has which weights on which server: a server has one runner for each."""

    held: dict[tuple[str, str], dict[int, tuple[str, str]]] = field(default_factory=dict)

    def take(self, site: Claimant, stocked: Stocked) -> None:
        """Claim the weights.

        Raises:
            LoadFailed: another model of ours has them, under other settings.
        """
        others = self.held.setdefault((site.server.url, stocked.blob), {})
        for name, model in others.values():
            if name != stocked.name and stocked.blob:
                who = f"model '{model}'" if model != site.spec.name else "another revision of it"
                raise LoadFailed(
                    f"{who} has the same weights at {site.server.url}, and Ollama holds them "
                    "once only: loading this one would unload it",
                    where=site.spec.name,
                    fix="unload it first, or give one of them another `endpoint`",
                )
        others[id(site)] = (stocked.name, site.spec.name)

    def shared(self, site: Claimant, stocked: Stocked) -> bool:
        """Say whether another replica lives on the same runner."""
        others = self.held.get((site.server.url, stocked.blob), {})
        return any(who != id(site) and name == stocked.name for who, (name, _) in others.items())

    def give_back(self, site: Claimant, stocked: Stocked) -> None:
        others = self.held.get((site.server.url, stocked.blob), {})
        others.pop(id(site), None)
        if not others:
            self.held.pop((site.server.url, stocked.blob), None)
