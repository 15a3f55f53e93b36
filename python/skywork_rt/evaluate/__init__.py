"""How good a model's answers are: C-Eval, MMLU, CMMLU and perplexity, and lm-evaluation-harness's model."""
