"""Renders a checkpoint's chat template once before it goes into a bundle.

The sandbox keeps a template from reaching anything, but not from looping for ever or filling the memory; so the trial
runs in a process of its own with limits on time and memory.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import skywork_rt.errors

__all__ = ["check_template"]

_log = logging.getLogger("skywork_rt.export")

_SECONDS = 10
_MEMORY_BYTES = 2 << 30
_LARGEST_TEMPLATE = 1 << 20
_USER = {"role": "user", "content": "Hello"}
_TRIALS = ([_USER], [{"role": "system", "content": "Be brief."}, _USER])


def check_template(name: str, template: str, special_tokens: Mapping[str, Any]) -> str | None:
    """Why the template cannot be used, or None when it can; both are logged where it matters.

    It cannot when it is no jinja2 text, leaves the sandbox, or does not end within bounds on time and memory. One that
    refuses the trial conversations, or fails on them, may do for others: that is only logged.
    """
    if len(template) > _LARGEST_TEMPLATE:
        return _unusable(name, f"it has {len(template)} characters; at most {_LARGEST_TEMPLATE} are taken")
    child = _run({"template": template, "special_tokens": dict(special_tokens)})
    if child is None or child.returncode < 0:
        bounds = f"more than {_SECONDS} s or {_MEMORY_BYTES >> 30} GiB"
        return _unusable(name, f"it takes {bounds} for one message")
    if child.returncode != 0:
        return _unusable(name, f"it cannot be tried: {child.stderr.decode(errors='replace')[-400:]}")
    answer = json.loads(child.stdout)
    if answer["unusable"] is not None:
        return _unusable(name, answer["unusable"])
    if answer["refusal"] is not None:
        _log.warning("the chat template %r refuses a conversation of one message: %s", name, answer["refusal"])
    return None


def _unusable(name: str, reason: str) -> str:
    _log.warning("the chat template %r cannot be used, and chat() will say so: %s", name, reason)
    return reason


def _run(task: Mapping[str, Any]) -> subprocess.CompletedProcess[bytes] | None:
    """Tries in a process of its own; None when it did not end."""
    package_root = str(Path(skywork_rt.errors.__file__).parent.parent)
    search = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        return subprocess.run(
            [sys.executable, "-m", "skywork_rt.export.template_check"],
            input=json.dumps(task).encode("utf-8", "surrogatepass"),
            capture_output=True,
            timeout=2 * _SECONDS,
            env={**os.environ, "PYTHONPATH": search},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


def _limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _try(task: dict[str, Any]) -> dict[str, str | None]:
    from jinja2.exceptions import SecurityError

    from skywork_rt.errors import InvalidArgumentError, UnsupportedError
    from skywork_rt.text.chat_template import ChatTemplates, render_chat

    templates = ChatTemplates({"default": task["template"]}, task["special_tokens"])
    refusal: str | None = None
    for messages in _TRIALS:
        try:
            render_chat(templates, messages)
            return {"unusable": None, "refusal": None}
        except UnsupportedError as error:
            return {"unusable": str(error.__cause__ or error)[:400], "refusal": None}
        except InvalidArgumentError as error:
            if isinstance(error.__cause__, SecurityError | MemoryError | RecursionError):
                return {"unusable": repr(error.__cause__)[:400], "refusal": None}
            refusal = str(error)[:400]
        except (MemoryError, RecursionError) as error:
            return {"unusable": type(error).__name__, "refusal": None}
    return {"unusable": None, "refusal": refusal}


if __name__ == "__main__":
    _limit()
    print(json.dumps(_try(json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass")))))
