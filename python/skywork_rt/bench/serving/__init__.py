"""Measuring servers that speak OpenAI's protocol, over HTTP, as their users meet them.

calls.py      what is asked: prompts, lengths of answers, arrivals
client.py     one call over HTTP, and the moments at which its pieces came
load.py       when calls are sent: at a rate, or by a number of clients
figures.py    what the moments say: TTFT, TPOT, throughput, goodput, errors by code
limits.py     the limits that goodput is counted by
targets.py    the servers: a URL, or a command that starts one
processes.py  a started server's processes: cores, processor time, memory
measure.py    every load on every server, in turns
report.py     tables and rows; picture.py draws them
mixed.py      500 clients of all kinds beside the engine alone (`bench serve-load`)
commands.py   the commands
"""
