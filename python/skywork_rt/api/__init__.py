"""What `import skywork_rt` shows: generators, parameters, prompts and results."""
