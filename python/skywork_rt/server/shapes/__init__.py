"""Answers as OpenAI writes them, with vLLM's names for what OpenAI lacks."""
