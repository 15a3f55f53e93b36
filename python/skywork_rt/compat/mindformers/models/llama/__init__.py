"""Llama: configuration, model, tokenizer."""

from skywork_rt.compat.mindformers.models.llama.llama import LlamaForCausalLM
from skywork_rt.compat.mindformers.models.llama.llama_config import LlamaConfig
from skywork_rt.compat.mindformers.models.llama.llama_tokenizer import LlamaTokenizer

__all__ = ["LlamaConfig", "LlamaForCausalLM", "LlamaTokenizer"]
