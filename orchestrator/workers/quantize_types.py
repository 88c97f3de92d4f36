"""What llama.cpp can quantise to here."""

from typing import Final

# What `quantize:` may say. Left out are types that are poor without an importance matrix, which would have
# to be made from texts that nobody here has.
QUANTIZE: Final = (
    "q8_0",
    "q6_K",
    "q5_K_M",
    "q5_K_S",
    "q5_1",
    "q5_0",
    "q4_K_M",
    "q4_K_S",
    "q4_1",
    "q4_0",
    "iq4_NL",
    "iq4_XS",
    "q3_K_L",
    "q3_K_M",
    "q3_K_S",
    "bf16",
    "f16",
)
