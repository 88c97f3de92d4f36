"""What a dry run says, by pool. The GPU's lines are written after llama.cpp's formats: no GPU was at hand."""

from orchestrator.workers.ledger import contexts, pool_of, reserved, weights

MIB = 1 << 20
SLACK = 0.005 * MIB  # of a figure with two decimals

ON_CPU = """
load_tensors: layer   0 assigned to device CPU, is_swa = 0
load_tensors: layer   1 assigned to device CPU, is_swa = 0
load_tensors: layer   2 assigned to device CPU, is_swa = 0
load_tensors:          CPU model buffer size =     0.00 MiB
llama_context:        CPU  output buffer size =     0.31 MiB
llama_kv_cache: layer   0: dev = CPU
llama_kv_cache: layer   1: dev = CPU
llama_kv_cache:        CPU KV buffer size =     0.00 MiB
llama_kv_cache: size =  352.00 MiB (  8192 cells,  11 layers, 10/1 seqs), K (f16): …
sched_reserve:        CPU compute buffer size =    33.02 MiB
""".splitlines()

ON_TWO_GPUS = """
load_tensors: layer   0 assigned to device CUDA0, is_swa = 0
load_tensors: layer   1 assigned to device CUDA0, is_swa = 0
load_tensors: layer   2 assigned to device CUDA1, is_swa = 0
load_tensors: layer   3 assigned to device CUDA1, is_swa = 0
llama_context:  CUDA_Host  output buffer size =     1.00 MiB
llama_kv_cache_iswa: creating non-SWA KV cache, size = 8192 cells
llama_kv_cache: layer   0: dev = CUDA0
llama_kv_cache: layer   2: filtered
llama_kv_cache: size =   10.00 MiB (  8192 cells,   1 layers,  4/1 seqs), K (f16): …
llama_kv_cache_iswa: creating     SWA KV cache, size = 1024 cells
llama_kv_cache: layer   1: dev = CUDA0
llama_kv_cache: layer   2: dev = CUDA1
llama_kv_cache: size =    4.00 MiB (  1024 cells,   2 layers,  4/1 seqs), K (f16): …
sched_reserve:      CUDA0 compute buffer size =   100.00 MiB
sched_reserve:      CUDA1 compute buffer size =    50.00 MiB
sched_reserve:  CUDA_Host compute buffer size =     8.00 MiB
""".splitlines()

RECURRENT = """
llama_memory_recurrent, layer   0: dev = CPU
llama_memory_recurrent:        CPU RS buffer size =     0.00 MiB
llama_memory_recurrent: size =    6.00 MiB (     4 cells,   2 layers,  4 seqs  1 rs_seq), R (f32): …
""".splitlines()

SIZES = {
    "token_embd.weight": 8,
    "blk.0.attn_q.weight": 1,
    "blk.1.attn_q.weight": 2,
    "blk.2.attn_q.weight": 4,
    "output_norm.weight": 16,
}


def close(found: dict[str, int], expected: dict[str, float]) -> bool:
    return found.keys() == expected.keys() and all(
        expected[pool] * MIB <= found[pool] <= expected[pool] * MIB + 10 * SLACK for pool in expected
    )


def test_on_a_processor_all_is_ram() -> None:
    assert close(contexts(ON_CPU), {"ram": 352.0 + 0.31 + 33.02})
    assert weights(ON_CPU, SIZES) == {"ram": 31}


def test_cells_go_with_their_layers_and_buffers_with_their_devices() -> None:
    assert close(contexts(ON_TWO_GPUS), {"cuda:0": 10 + 2 + 100, "cuda:1": 2 + 50, "ram": 1 + 8})


def test_a_table_that_is_also_the_last_layer_lies_twice() -> None:
    assert weights(ON_TWO_GPUS, SIZES) == {"ram": 8, "cuda:0": 1 + 2, "cuda:1": 4 + 16 + 8}
    with_output = SIZES | {"output.weight": 32}
    assert weights(ON_TWO_GPUS, with_output) == {"ram": 8, "cuda:0": 1 + 2, "cuda:1": 4 + 16 + 32}


def test_states_of_recurrent_layers_count() -> None:
    assert close(contexts(RECURRENT), {"ram": 6.0})


def test_what_shares_the_ram_is_the_ram() -> None:
    assert [pool_of(device) for device in ("CPU", "CUDA_Host", "CUDA12", "Metal", "MTL0_Mapped")] == [
        "ram",
        "ram",
        "cuda:12",
        "ram",
        "ram",
    ]


def test_a_log_without_figures_is_nothing() -> None:
    assert contexts(["", "llama_kv_cache: size ="]) == {}
    assert weights([], {}) == {}


def test_what_is_set_aside_for_computing_is_told_apart() -> None:
    assert reserved(ON_CPU) == round(33.02 * MIB)
    assert reserved(ON_TWO_GPUS) == 8 * MIB
    assert reserved([]) == 0
