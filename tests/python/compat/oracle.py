"""MindFormers 1.8.0's own tokenizer, pipeline and predict on the CPU: JSON on standard input, JSON to a file.

A process of its own: it imports MindSpore. `python oracle.py REQUEST ANSWER` works in the current folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    from mindformers import LlamaTokenizer

    answer: dict[str, Any] = {}
    tokenizers = {name: LlamaTokenizer(request["tokenizer"], **how) for name, how in request["tokenizers"].items()}
    answer["calls"] = [_call(tokenizers[c["of"]], c) for c in request["calls"]]
    answer["decoded"] = [tokenizers[d["of"]].decode(d["ids"], **d["how"]) for d in request["decodings"]]
    answer["facts"] = {name: _facts(tokenizer) for name, tokenizer in tokenizers.items()}
    _generate(request, tokenizers["default"], answer)
    Path(sys.argv[2]).write_text(json.dumps(answer, ensure_ascii=False), encoding="utf-8")


def _call(tokenizer: Any, call: dict[str, Any]) -> dict[str, Any]:
    made = tokenizer(call["text"], **call["how"])
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in made.items()}


def _facts(tokenizer: Any) -> dict[str, Any]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "vocab_size", "padding_side",
             "truncation_side", "all_special_tokens", "all_special_ids", "add_bos_token", "add_eos_token")  # fmt: skip
    found = {name: getattr(tokenizer, name) for name in names}
    return {**found, "pieces": tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 300])}


def _generate(request: dict[str, Any], tokenizer: Any, answer: dict[str, Any]) -> None:
    import mindspore as ms
    import yaml
    from mindformers import LlamaConfig, LlamaForCausalLM, MindFormerConfig, Trainer, build_context, pipeline

    context = {"mode": 0, "device_target": "CPU"}
    build_context(
        MindFormerConfig(
            use_parallel=False,
            run_mode="predict",
            postprocess_use_numpy=True,
            context=context,
            parallel={},
            parallel_config={},
        )
    )
    section = yaml.safe_load(Path(request["config"]).read_text(encoding="utf-8"))["model"]["model_config"]
    section = {name: value for name, value in section.items() if name != "type"}
    net = LlamaForCausalLM(LlamaConfig(**section))
    ms.load_param_into_net(net, ms.load_checkpoint(request["checkpoint"]))
    net.set_train(False)
    # Greedy by sampling among one token: the greedy search of 1.8.0 needs a kernel that a CPU lacks.
    greedy = {"do_sample": True, "top_k": 1}
    answer["generated"] = [
        [[int(token) for token in row] for row in net.generate(case["ids"], **case["how"], **greedy)]
        for case in request["generations"]
    ]
    task = pipeline("text_generation", model=net, tokenizer=tokenizer, max_length=request["max_length"])
    answer["pipeline"] = [task(case["inputs"], **case["how"], **greedy) for case in request["pipelines"]]
    settings = MindFormerConfig(request["config"])
    settings.postprocess_use_numpy = True
    settings.run_mode = "predict"
    settings.model.model_config.update(do_sample=True, top_k=1)
    trainer = Trainer(args=settings, task="text_generation", model=net, tokenizer=tokenizer)
    length = request["max_length"]
    answer["predicted"] = trainer.predict(input_data=request["predict"], max_length=length, do_sample=True, top_k=1)
    answer["predict_file"] = Path("text_generation_result.txt").read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
