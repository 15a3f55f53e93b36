"""Writes training.json: 20 steps of torch's AdamW on transformers' Llama, from the weights and data of tiny_training.

Needs torch and transformers, which the tests do not: run it in an environment of its own,
``python tests/python/recipe/golden/make_training_golden.py``.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_training import LENGTH, VOCABULARY, golden_data, initial_weights

RATE, WARMUP, STEPS, LAST_RATE, CLIP, DECAY, PAD, IGNORED = 1e-3, 2, 20, 1e-5, 0.5, 0.1, 0, -100
RENAMES = (
    ("tok_embeddings.embedding_weight", "embed_tokens.weight"),
    (".attention.wq.", ".self_attn.q_proj."),
    (".attention.wk.", ".self_attn.k_proj."),
    (".attention.wv.", ".self_attn.v_proj."),
    (".attention.wo.", ".self_attn.o_proj."),
    (".feed_forward.w1.", ".mlp.gate_proj."),
    (".feed_forward.w2.", ".mlp.down_proj."),
    (".feed_forward.w3.", ".mlp.up_proj."),
    (".attention_norm.", ".input_layernorm."),
    (".ffn_norm.", ".post_attention_layernorm."),
    (".norm_out.", ".norm."),
)


def torch_name(name: str) -> str:
    for ours, theirs in RENAMES:
        name = name.replace(ours, theirs)
    return name


def rate(step: int) -> float:
    """Linear from 0, then half a cosine."""
    if step < WARMUP:
        return RATE * step / WARMUP
    part = (step - WARMUP) / (STEPS - WARMUP)
    return LAST_RATE + (RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * part))


def main() -> None:
    torch.set_num_threads(1)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=88,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        rms_norm_eps=1e-6,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=False,
        rope_theta=10000.0,
    )
    model = LlamaForCausalLM(config)
    weights = initial_weights()
    model.load_state_dict({torch_name(name): torch.from_numpy(value) for name, value in weights.items()})
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    ids, labels = (torch.from_numpy(array).long() for array in golden_data())
    steps = []
    for step in range(STEPS):
        rows = slice(4 * step, 4 * step + 4)
        inputs, targets = ids[rows, :-1], labels[rows, 1:]
        counted = (inputs != PAD) & (targets != IGNORED)
        logits = model(input_ids=inputs).logits
        loss = torch.nn.functional.cross_entropy(logits[counted], targets[counted])
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        steps.append({"loss": loss.item(), "grad_norm": norm.item(), "learning_rate": rate(step)})
    state = model.state_dict()
    samples = {}
    for name in weights:
        values = state[torch_name(name)].numpy().reshape(-1).astype(np.float64)
        places = np.linspace(0, values.size - 1, 8).astype(int)
        samples[name] = {"norm": float(np.sqrt((values**2).sum())), "values": [float(values[i]) for i in places]}
    path = Path(__file__).with_name("training.json")
    path.write_text(json.dumps({"torch": torch.__version__, "steps": steps, "weights": samples}, indent=1) + "\n")


if __name__ == "__main__":
    main()
