"""Which of many replicas a request goes to: the one that has the start of its prompt cached, unless it is too busy.

prefix.py   a prompt as a chain of blocks
index.py    which replica has seen which blocks
policy.py   the choice

Nothing here knows of Ray or of HTTP, so that it is tested and simulated by itself (`skywork-rt bench routing`).
"""

from __future__ import annotations

from skywork_rt.routing.index import PrefixIndex
from skywork_rt.routing.policy import PrefixPolicy
from skywork_rt.routing.prefix import prefix_of_request

__all__ = ["PrefixIndex", "PrefixPolicy", "prefix_of_request"]
