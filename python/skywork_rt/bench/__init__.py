"""Measurements of a bundle: every runtime in a process of its own, side by side in one run.

cli.py        the commands `skywork-rt bench`
runner.py     who runs when: processes, repeats, interleaving
worker.py     the child process, `python -m skywork_rt.bench.worker`
drivers/      one runtime each: our generator, bare Model::Predict, the recipe's Python loop
metrics.py    what is measured, and on which workload
rows.py       the JSON document
markdown.py   tables for the screen; findings.py what they show
"""
