"""Train, export and measure one of the demo models that ship with the package.

One command makes a model from nothing and puts it where the package keeps it:

    python -m pip install -r tools/requirements-train.txt
    python tools/train_demo.py small

The schedule is counted in steps, the seed and the number of threads are fixed, and the data are drawn from
the seed: the same versions on the same kind of processor give the same weights. It takes about 4 (tiny)
or 18 (small) CPU minutes on one core.
"""

import argparse
import hashlib
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from demo_tasks import (
    ASSISTANT,
    END,
    SYSTEM,
    SYSTEM_MESSAGES,
    USER,
    VOCABULARY_SIZE,
    Example,
    training_example,
)
from export_demo import HEAD_SIZE, NORM_EPSILON, ROPE_BASE, export
from torch import nn
from torch.nn import functional

DEMO_FOLDER: Final = Path(__file__).parent.parent / "orchestrator" / "demo"
CHECKPOINTS: Final = Path("build") / "demo"
IGNORED: Final = -100
# A long run can be looked at on its way.
KEEP_EVERY: Final = 1000
# Conversations drawn before they are sorted by length into batches; large enough that little is padding.
POOL: Final = 512
# Tokens of a refusal that three in four of them learn from: the sentence is always the same, so the decision
# to begin it is what takes practice.
REFUSAL_START: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What makes one demo model: its shape and its schedule."""

    size: int
    layers: int
    hidden: int
    steps: int
    batch_tokens: int
    learning_rate: float
    seed: int = 1
    threads: int = 1


RECIPES: Final = {
    "tiny": Recipe(size=64, layers=2, hidden=192, steps=6000, batch_tokens=1536, learning_rate=0.012),
    "small": Recipe(size=96, layers=4, hidden=256, steps=10000, batch_tokens=1536, learning_rate=0.006),
}


class Block(nn.Module):
    """One llama block: attention with rotary positions, then a gated feed-forward layer."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(size, 3 * size, bias=False)
        self.out = nn.Linear(size, size, bias=False)
        self.gate_up = nn.Linear(size, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, size, bias=False)
        self.attention_norm = nn.RMSNorm(size, eps=NORM_EPSILON)
        self.feed_norm = nn.RMSNorm(size, eps=NORM_EPSILON)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Map (batch, length, size) to the same shape."""
        batch, length, size = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, size // HEAD_SIZE, HEAD_SIZE)
        query_key, value = qkv[:, :, :2], qkv[:, :, 2].transpose(1, 2)
        first, second = query_key.chunk(2, -1)
        turned = query_key * cos + torch.cat([-second, first], -1) * sin
        query, key = turned.transpose(1, 3).unbind(2)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, size))
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, -1)
        output: torch.Tensor = x + self.down(functional.silu(gate) * up)
        return output


class Model(nn.Module):
    """A llama with tied embeddings."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY_SIZE, recipe.size)
        self.blocks = nn.ModuleList(Block(recipe.size, recipe.hidden) for _ in range(recipe.layers))
        self.norm = nn.RMSNorm(recipe.size, eps=NORM_EPSILON)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                towards_residual = name.endswith(("out.weight", "down.weight"))
                scale = math.sqrt(2 * recipe.layers) if towards_residual else 1.0
                nn.init.normal_(parameter, 0, 0.02 / scale)

    def forward(self, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return logits at the `wanted` positions only: (batch, length) twice to (positions, vocabulary)."""
        frequencies = ROPE_BASE ** -(torch.arange(0, HEAD_SIZE, 2).float() / HEAD_SIZE)
        angles = torch.outer(torch.arange(tokens.shape[1]).float(), frequencies)
        angles = torch.cat([angles, angles], -1)[:, None, None, :]
        cos, sin = angles.cos(), angles.sin()
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin)
        return functional.linear(self.norm(x[wanted]), self.embedding.weight)


def conversation(rng: random.Random, *, several: float) -> tuple[list[int], list[int]]:
    """Draw one conversation: its tokens, and for each the token to predict or `IGNORED`.

    A share `several` has two to six turns, a few of them up to about 900 tokens; the rest has one turn. One
    in eight opens with a system message.
    """
    tokens: list[int] = []
    targets: list[int] = []

    def put(part: Sequence[int], learnt: int = 0) -> None:
        tokens.extend(part)
        targets.extend((*part[:learnt], *[IGNORED] * (len(part) - learnt)))

    if rng.random() < 1 / 8:
        message = rng.choice(SYSTEM_MESSAGES) if rng.random() < 2 / 3 else training_example(rng).prompt
        put((SYSTEM, *message.encode(), END))
    turns = rng.choice((2, 2, 3, 3, 4, 6)) if rng.random() < several else 1
    long = turns > 1 and rng.random() < 1 / 100
    turn = 0
    while turn < turns or (long and len(tokens) < 700):  # noqa: PLR2004 - with one more turn, 900 at most
        example: Example = training_example(rng)
        answer = (*example.answer.encode(), END)
        put((USER, *example.prompt.encode(), END, ASSISTANT))
        whole = example.task != "refuse" or rng.random() < 1 / 4
        turn += 1
        if not whole and turn >= turns and not long:
            put(answer[:REFUSAL_START], REFUSAL_START)
            break
        put(answer, len(answer) if whole else REFUSAL_START)
    return tokens[:-1], targets[1:]


def batches(recipe: Recipe) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Draw the batches of the schedule: tokens and targets, each of shape (conversations, longest).

    Single prompts come first, because copying and reversing are learnt faster from short texts; in the second
    half a third of the conversations has several turns.
    """
    rng = random.Random(recipe.seed)
    step = 0
    while step < recipe.steps:
        several = 1 / 20 if step < recipe.steps / 2 else 1 / 3
        pool = sorted(
            (conversation(rng, several=several) for _ in range(POOL)), key=lambda item: len(item[0])
        )
        groups: list[list[tuple[list[int], list[int]]]] = [[]]
        for item in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(item[0]) > recipe.batch_tokens:
                groups.append([])
            groups[-1].append(item)
        rng.shuffle(groups)
        step += len(groups)
        for group in groups:
            longest = max(len(tokens) for tokens, _ in group)
            yield (
                torch.tensor([tokens + [END] * (longest - len(tokens)) for tokens, _ in group]),
                torch.tensor([targets + [IGNORED] * (longest - len(targets)) for _, targets in group]),
            )


def optimisers(model: Model, recipe: Recipe) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    matrices = [p for p in model.blocks.parameters() if p.dim() > 1]
    rest = [model.embedding.weight, *(p for p in model.parameters() if p.dim() == 1)]
    return (
        torch.optim.Muon(matrices, lr=recipe.learning_rate, weight_decay=0.05, momentum=0.95),
        torch.optim.AdamW(rest, lr=recipe.learning_rate / 4, betas=(0.9, 0.98), weight_decay=0.0),
    )


def rate_factor(step: int, steps: int) -> float:
    """Scale the learning rate: 50 steps up, then straight down to a fiftieth."""
    return min((step + 1) / 50, max(1 - step / steps, 1 / 50))


def train(
    recipe: Recipe, *, stop_after: int = sys.maxsize, keep: Callable[[Model], None] = lambda _: None
) -> tuple[Model, dict[str, float]]:
    """Train by `recipe`, but no further than `stop_after` steps; return the model and what it cost.

    `keep` is called with the model every `KEEP_EVERY` steps.
    """
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(recipe.seed)
    model = Model(recipe)
    steppers = optimisers(model, recipe)
    rates = [group["lr"] for stepper in steppers for group in stepper.param_groups]
    began, cpu_began = time.monotonic(), time.process_time()
    conversations = tokens_seen = 0
    smooth = 0.0
    steps = min(recipe.steps, stop_after)
    for step, (tokens, targets) in zip(range(steps), batches(recipe), strict=False):
        groups = [group for stepper in steppers for group in stepper.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * rate_factor(step, recipe.steps)
        wanted = targets != IGNORED
        loss = functional.cross_entropy(model(tokens, wanted), targets[wanted])
        model.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
        conversations += len(tokens)
        tokens_seen += tokens.numel()
        smooth += (loss.item() - smooth) / min(step + 1, 100)
        if (step + 1) % 100 == 0:
            seconds = time.monotonic() - began
            sys.stdout.write(f"step {step + 1} of {steps}, {seconds:.0f} s, loss {smooth:.4f}\n")
            sys.stdout.flush()
        if (step + 1) % KEEP_EVERY == 0:
            keep(model)
    cost: dict[str, float] = {
        "steps": steps,
        "conversations": conversations,
        "tokens": tokens_seen,
        "cpu_s": round(time.process_time() - cpu_began),
        "wall_s": round(time.monotonic() - began),
    }
    return model, cost


def main(arguments: Sequence[str]) -> None:
    """Read the command line and make the model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(RECIPES), help="which of the two models to make")
    parser.add_argument(
        "--folder", type=Path, default=DEMO_FOLDER, help="where to put it (default: %(default)s)"
    )
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, help="default: %(default)s")
    parser.add_argument(
        "--stop-after", type=int, default=sys.maxsize, help="stop early, after this many steps"
    )
    parser.add_argument("--no-evaluate", action="store_true", help="leave out measuring it through llama.cpp")
    chosen = parser.parse_args(arguments)
    recipe = RECIPES[chosen.name]
    chosen.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoint = chosen.checkpoints / f"{chosen.name}.pt"

    def save(model: Model, cost: Mapping[str, float]) -> None:
        weights = model.state_dict()
        torch.save(
            {"name": chosen.name, "recipe": asdict(recipe), "cost": cost, "weights": weights}, checkpoint
        )

    model, cost = train(recipe, stop_after=chosen.stop_after, keep=lambda model: save(model, {}))
    save(model, cost)
    sys.stdout.write(f"{checkpoint}: {json.dumps(cost)}\n")
    path, _ = export(checkpoint, chosen.folder)
    sys.stdout.write(f"{path}: sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    if not chosen.no_evaluate:
        from evaluate_demo import evaluate_into  # noqa: PLC0415 - training needs no llama.cpp

        evaluate_into(chosen.folder, [chosen.name], training=cost)


if __name__ == "__main__":
    main(sys.argv[1:])
