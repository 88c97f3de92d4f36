"""Models whose caches are of other kinds: windows, states, compressed keys. Their weights are random."""

import json
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("mlx.core", reason="mlx is not made for this machine")

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map

from benchmarks.random_mlx import TOKENIZER
from orchestrator import demo
from orchestrator.workers.mlx.batch import MlxBatch
from orchestrator.workers.mlx.memory import kv_bytes
from orchestrator.workers.mlx.model import MlxModel
from orchestrator.workers.mlx.runtime import UTILS
from orchestrator.workers.mlx.sampling import Choice, MlxSampler
from orchestrator.workers.params import SamplingParams
from orchestrator.workers.stops import TextFlow
from orchestrator.workers.work import Generation, Progress, Work

DEADLINE_S: Final = 30
COMMON: Final = {
    "vocab_size": 261,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "max_position_embeddings": 1024,
}
YARN: Final = {"factor": 1.0, "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 1024}
ARCHITECTURES: Final[Mapping[str, Mapping[str, object]]] = {
    "qwen3": {},
    "gemma3_text": {"sliding_window": 32, "sliding_window_pattern": 2, "query_pre_attn_scalar": 32},
    "gpt_oss": {
        "sliding_window": 32,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "rope_scaling": {"rope_type": "yarn", **YARN},
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    "mamba2": {
        "num_heads": 4,
        "state_size": 16,
        "conv_kernel": 4,
        "n_groups": 1,
        "use_bias": False,
        "use_conv_bias": True,
        "layer_norm_epsilon": 1e-5,
        "time_step_limit": [0.0, 100.0],
        "time_step_rank": "auto",
    },
    "qwen3_next": {
        "linear_num_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "linear_conv_kernel_dim": 4,
        "num_experts": 0,
        "num_experts_per_tok": 0,
        "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 64,
        "mlp_only_layers": [],
        "moe_intermediate_size": 64,
        "partial_rotary_factor": 0.5,
        "full_attention_interval": 2,
    },
    "deepseek_v2": {
        "num_key_value_heads": 2,
        "moe_intermediate_size": 64,
        "n_shared_experts": 1,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "kv_lora_rank": 16,
        "q_lora_rank": None,
        "qk_rope_head_dim": 16,
        "qk_nope_head_dim": 32,
        "v_head_dim": 32,
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "routed_scaling_factor": 1.0,
        "topk_method": "greedy",
        "n_group": 1,
        "topk_group": 1,
        "rope_scaling": {"type": "yarn", "mscale": 1, "mscale_all_dim": 0, **YARN},
    },
}


def write(folder: Path, name: str) -> None:
    config = {"model_type": name, **COMMON, **ARCHITECTURES[name]}
    folder.mkdir()
    for file in TOKENIZER:
        shutil.copy(Path(demo.__file__).with_name("small-mlx") / file, folder)
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(1)
    model_class, arguments = UTILS._get_classes(config)  # noqa: SLF001 (what mlx-lm itself loads it with)
    network = model_class(arguments.from_dict(config))

    def drawn(weights: Any) -> Any:  # noqa: ANN401 (an array)
        if weights.ndim < 2:
            return weights
        return mx.random.normal(weights.shape) * (0.8 / weights.shape[-1] ** 0.5)

    weights: Any = tree_flatten(tree_map(drawn, network.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(weights), {"format": "mlx"})


class Bench:
    def __init__(self, folder: Path) -> None:
        self._texts: dict[Work, str] = {}
        self._ended: dict[Work, Progress] = {}
        self._news = threading.Condition()
        self.batch = MlxBatch(
            partial(MlxModel, folder),
            context=512,
            parallel=3,
            queue_limit=8,
            warm=True,
            broken=lambda: None,
        )
        self.model = self.batch.model()
        self.batch.deliver = self._deliver

    def _deliver(self, news: list[Progress]) -> None:
        with self._news:
            for progress in news:
                self._texts[progress.work] = self._texts.get(progress.work, "") + progress.text
                if progress.ended:
                    self._ended[progress.work] = progress
            self._news.notify_all()

    def answers(self, *prompts: str) -> tuple[list[str], list[int]]:
        """What is said to the prompts at once, and how much of each was reused."""
        works = [self._submitted(prompt) for prompt in prompts]
        with self._news:
            assert self._news.wait_for(lambda: all(work in self._ended for work in works), DEADLINE_S)
        assert {self._ended[work].error for work in works} == {""}
        return [self._texts[work] for work in works], [work.cached for work in works]

    def _submitted(self, prompt: str) -> Generation[Choice]:
        params = SamplingParams(temperature=0, ignore_eos=True)
        work: Generation[Choice] = Generation(
            prompt=self.model.tokenize(prompt, add_bos=True),
            max_tokens=12,
            sampler=MlxSampler(params, self.model.ending_tokens),
            text=TextFlow(),
            arrived_s=time.monotonic(),
        )
        self.batch.submit(work)
        return work


BEGINNING: Final = "A beginning that is longer than the window of every layer of these models."
PROMPTS: Final[Sequence[str]] = (BEGINNING, BEGINNING + " And then it goes on.", BEGINNING[:40] + " Or not.")


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_no_answer_depends_on_company_or_on_what_was_kept(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, name)
    bench = Bench(tmp_path / name)
    try:
        alone = [bench.answers(prompt)[0][0] for prompt in PROMPTS]
        again, reused = bench.answers(*PROMPTS)
        assert reused == [len(prompt) - 1 for prompt in PROMPTS]
        assert again == alone
        longer, grown = bench.answers(PROMPTS[1] + " Still more.")
        assert grown[0] >= len(PROMPTS[1]) - 1
        kept = bench.batch._kept._entries  # noqa: SLF001 (the bound is on what lies there)
        bound = kv_bytes(bench.model.folder, 1)
        assert all(entry.size_bytes <= bound * (len(entry.tokens) + 32) for entry in kept)
        bench.batch._kept.clear()  # noqa: SLF001 (as in a fresh worker)
        assert bench.answers(PROMPTS[1] + " Still more.") == (longer, [0])
    finally:
        bench.batch.close()
