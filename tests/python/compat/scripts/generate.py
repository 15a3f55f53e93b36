"""The recipe's script for generate(), as its users have it: CKPT CONFIG TOKENIZER PROMPT MAX_LENGTH."""

import sys

from mindformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer
from mindformers.generation import GenerationConfig
from mindformers.tools.register import MindFormerConfig
from mindspore import context

context.set_context(device_id=0, mode=0)
checkpoint, config_path, vocabulary, prompt, max_length = sys.argv[1:]
config = MindFormerConfig(config_path)
config.model.model_config.checkpoint_name_or_path = checkpoint
model = LlamaForCausalLM(config=LlamaConfig(**config.model.model_config))
tokenizer = LlamaTokenizer(vocab_file=vocabulary)
generation_config = GenerationConfig(
    temperature=1,
    top_p=1.0,
    top_k=1,
    num_beams=1,
    eos_token_id=tokenizer.eos_token_id,
    pad_token_id=tokenizer.pad_token_id,
    do_sample=True,
    max_length=int(max_length),
)
inputs = tokenizer(prompt)["input_ids"]
outputs = model.generate(inputs, generation_config=generation_config)
print(tokenizer.decode(outputs))
