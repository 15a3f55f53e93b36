"""Architectures that are not read, by name: what they have that the runtime has no part for, and what may be done.

docs/checkpoints.md has the same table for people; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FOREIGN", "Foreign", "foreign_architecture"]


@dataclass(frozen=True)
class Foreign:
    """Some architectures with the same reason.

    `names` are values of model_type in config.json and of general.architecture in GGUF.
    """

    names: tuple[str, ...]
    what: str
    instead: str


_DENSE = "take a dense model of the same family"
_OTHER = "no conversion makes a Llama of it: take a model of an architecture that is read"
_TEXT = "take its language model alone, as a directory or a GGUF file of its own"

FOREIGN: tuple[Foreign, ...] = (
    Foreign(
        ("phi3", "internlm2", "baichuan", "qwen", "xverse"),
        "q, k and v are one matrix under names of its own",
        "take a copy that was converted to LlamaForCausalLM (often called llamafied), or convert it so",
    ),
    Foreign(
        ("gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text"),
        "norms multiply by 1 + weight, the embedding is scaled, GELU takes the place of SiLU",
        _OTHER,
    ),
    Foreign(
        (
            "qwen2_moe", "qwen2moe", "qwen3_moe", "qwen3moe", "qwen3_next", "qwen3next", "mixtral", "phimoe", "olmoe",
            "deepseek", "deepseek2", "deepseek_v2", "deepseek_v3", "dbrx", "granitemoe", "gpt_oss", "gpt-oss", "llama4",
            "glm4_moe", "glm4moe", "ernie4_5_moe", "hunyuan_v1_moe", "minimax",
        ),
        "mixture of experts",
        _DENSE,
    ),
    Foreign(
        ("olmo2", "olmo3", "exaone4", "glm4", "apertus"),
        "norms stand behind attention and feed-forward, or go over all heads at once",
        _OTHER,
    ),
    Foreign(
        ("cohere", "cohere2", "command-r", "granite", "minicpm", "minicpm3"),
        "embedding, residuals or logits are scaled",
        _OTHER,
    ),
    Foreign(
        (
            "gpt2", "gpt_neox", "gptneox", "gptj", "gpt_bigcode", "starcoder", "starcoder2", "falcon", "opt", "bloom",
            "mpt", "phi", "phi2", "stablelm", "nemotron", "olmo", "persimmon", "codegen",
        ),
        "layer norms instead of RMS norms, or a feed-forward without a gate",
        _OTHER,
    ),
    Foreign(
        ("mamba", "mamba2", "jamba", "bamba", "falcon_h1", "falcon_mamba", "lfm2", "zamba", "zamba2", "rwkv", "rwkv6",
         "rwkv7", "recurrent_gemma"),
        "layers without attention",
        _OTHER,
    ),
    Foreign(
        ("mistral3", "mllama", "llava", "llava_next", "qwen2_vl", "qwen2vl", "qwen2_5_vl", "qwen3_vl", "qwen3vl",
         "idefics3", "smolvlm", "pixtral", "paligemma", "qwen2_audio", "voxtral"),
        "images or sound besides text",
        _TEXT,
    ),
    Foreign(
        ("bert", "roberta", "xlm-roberta", "t5", "mt5", "bart", "deberta", "modernbert", "whisper"),
        "an encoder: it does not continue texts",
        "take a causal language model",
    ),
)  # fmt: skip


def foreign_architecture(name: str) -> str:
    """What an architecture has that the runtime has no part for, and what to do, as one phrase; empty for unknown."""
    for entry in FOREIGN:
        if name in entry.names:
            return f"{entry.what}; {entry.instead}"
    return ""
