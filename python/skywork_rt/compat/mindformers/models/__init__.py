"""The Llama family."""

from skywork_rt.compat.mindformers.models.llama import LlamaConfig, LlamaForCausalLM, LlamaTokenizer

__all__ = ["LlamaConfig", "LlamaForCausalLM", "LlamaTokenizer"]
