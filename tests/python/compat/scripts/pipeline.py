"""The recipe's script for pipeline(), as its users have it: CKPT CONFIG TOKENIZER PROMPT MAX_LENGTH."""

import sys

from mindformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer
from mindformers.pipeline import pipeline
from mindformers.tools.register import MindFormerConfig
from mindspore import context

context.set_context(device_id=0, mode=0)
checkpoint, config_path, vocabulary, prompt, max_length = sys.argv[1:]
config = MindFormerConfig(config_path)
config.model.model_config.checkpoint_name_or_path = checkpoint
config.model.model_config.use_past = True
model = LlamaForCausalLM(LlamaConfig(**config.model.model_config))
tokenizer = LlamaTokenizer(vocabulary, add_bos_token=True, add_eos_token=False)
task = pipeline("text_generation", model=model, tokenizer=tokenizer, max_length=32)
result = task(
    prompt,
    top_k=1,
    do_sample=False,
    top_p=1.0,
    repetition_penalty=1,
    max_length=int(max_length),
    eos_token_id=tokenizer.eos_token_id,
    pad_token_id=tokenizer.pad_token_id,
    use_past=True,
)
print(result)
