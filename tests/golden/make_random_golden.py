"""Makes random_models.npz once, with transformers and torch in float32.

    python tests/golden/make_random_golden.py

The weights are those of SyntheticSource (skywork_rt.checkpoints.synthetic) with the seed of random_models.py, the same
on every machine; the file holds ids, chosen logit columns, logsumexp and greedy ids.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from random_models import CASES, SEED, Case

from skywork_rt.checkpoints.synthetic.source import SyntheticSource

HERE = Path(__file__).parent
TOKENS = 40
COLUMNS = 64
GREEDY_TOKENS = 20

_NAMES = {
    "embed_tokens": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "lm_head": "lm_head.weight",
    "input_norm": "input_layernorm.weight",
    "post_attention_norm": "post_attention_layernorm.weight",
    "q_proj": "self_attn.q_proj.weight",
    "k_proj": "self_attn.k_proj.weight",
    "v_proj": "self_attn.v_proj.weight",
    "o_proj": "self_attn.o_proj.weight",
    "q_bias": "self_attn.q_proj.bias",
    "k_bias": "self_attn.k_proj.bias",
    "v_bias": "self_attn.v_proj.bias",
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
    "o_bias": "self_attn.o_proj.bias",
    "gate_proj": "mlp.gate_proj.weight",
    "up_proj": "mlp.up_proj.weight",
    "down_proj": "mlp.down_proj.weight",
    "gate_bias": "mlp.gate_proj.bias",
    "up_bias": "mlp.up_proj.bias",
    "down_bias": "mlp.down_proj.bias",
}


def their_name(name: str) -> str:
    """Our name of a tensor as transformers calls it."""
    parts = name.split(".")
    return _NAMES[name] if len(parts) == 1 else f"model.layers.{parts[1]}.{_NAMES[parts[2]]}"


CONFIGS = {
    "llama": transformers.LlamaConfig,
    "mistral": transformers.MistralConfig,
    "qwen2": transformers.Qwen2Config,
    "qwen3": transformers.Qwen3Config,
    "smollm3": transformers.SmolLM3Config,
}


def parts(case: Case) -> dict[str, Any]:
    """What config.json says of the parts that not every Llama structure has."""
    config, stated = case.config, dict[str, Any]()
    if case.model_type in ("llama", "qwen3", "smollm3"):
        stated |= {"attention_bias": config.output_bias}
    if case.model_type in ("llama", "smollm3"):
        stated |= {"mlp_bias": config.mlp_bias}
    if case.model_type == "smollm3":
        turned = [int(layer not in config.layers_without_rope) for layer in range(config.layers)]
        stated |= {"no_rope_layers": turned, "pad_token_id": config.pad_id, "eos_token_id": 2}
    if case.model_type == "mistral":
        stated |= {"sliding_window": None}
    if (case.rope_scaling or {}).get("rope_type") == "longrope":
        stated |= {"original_max_position_embeddings": case.rope_scaling["original_max_position_embeddings"]}
    return stated


def build(case: Case) -> Any:
    config = case.config
    theirs = CONFIGS[case.model_type](
        vocab_size=config.vocab_size, hidden_size=config.hidden_size, intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers, num_attention_heads=config.heads, num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim, max_position_embeddings=config.max_length, rms_norm_eps=config.rms_norm_eps,
        tie_word_embeddings=config.tied_embeddings, rope_theta=config.rope.theta, rope_scaling=case.rope_scaling,
        attn_implementation="eager", **parts(case),
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(theirs, dtype=torch.float32)
    source = SyntheticSource(config, SEED)
    state = {their_name(name): torch.from_numpy(source.tensor(name)) for name in source.tensor_names()}
    if config.tied_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    return model.eval()


def main() -> None:
    torch.set_num_threads(2)
    arrays: dict[str, np.ndarray] = {}
    for name, case in CASES.items():
        model = build(case)
        random = np.random.default_rng(3)
        ids = random.integers(3, case.config.vocab_size, TOKENS).tolist()
        columns = np.sort(random.choice(case.config.vocab_size, COLUMNS, replace=False))
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
            greedy = list(ids)
            for _ in range(GREEDY_TOKENS):
                greedy.append(int(model(torch.tensor([greedy])).logits[0, -1].argmax()))
        arrays[f"{name}/ids"] = np.array(ids, np.int32)
        arrays[f"{name}/greedy"] = np.array(greedy[TOKENS:], np.int32)
        arrays[f"{name}/columns"] = columns.astype(np.int32)
        arrays[f"{name}/logits"] = logits[:, columns].numpy()
        arrays[f"{name}/logsumexp"] = torch.logsumexp(logits.double(), -1).numpy()
        arrays[f"{name}/range"] = (logits.amax(-1) - logits.amin(-1)).numpy()
        print(name, greedy[TOKENS : TOKENS + 6], float(logits.std()), flush=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "seed": SEED, "dtype": "float32"}
    arrays["made_with"] = np.array(json.dumps(versions))
    np.savez_compressed(HERE / "random_models.npz", **arrays)


if __name__ == "__main__":
    main()
