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
from pathlib import Path

import skywork_rt.errors
from skywork_rt.errors import CheckpointError

__all__ = ["check_template"]

_log = logging.getLogger("skywork_rt.export")

_SECONDS = 10
_MEMORY_BYTES = 2 << 30
_LARGEST_TEMPLATE = 1 << 20
_USER = {"role": "user", "content": "Hello"}
_TRIALS = ([_USER], [{"role": "system", "content": "Be brief."}, _USER])


def check_template(template: str, bos_token: str = "", eos_token: str = "") -> None:
    """Raises CheckpointError when the template is no jinja2 text, leaves the sandbox, fails or does not end.

    A template that refuses the trial conversations in words of its own (raise_exception) is valid; that is logged.
    """
    if len(template) > _LARGEST_TEMPLATE:
        raise CheckpointError(
            f"the chat template has {len(template)} characters; at most {_LARGEST_TEMPLATE} are taken"
        )
    task = json.dumps({"template": template, "bos_token": bos_token, "eos_token": eos_token})
    package_root = str(Path(skywork_rt.errors.__file__).parent.parent)
    search = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        child = subprocess.run(
            [sys.executable, "-m", "skywork_rt.export.template_check"],
            input=task.encode("utf-8", "surrogatepass"),
            capture_output=True,
            timeout=2 * _SECONDS,
            env={**os.environ, "PYTHONPATH": search},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(f"the chat template does not finish one message in {2 * _SECONDS} s") from error
    if child.returncode < 0:
        raise CheckpointError(
            f"the chat template takes more than {_SECONDS} s or {_MEMORY_BYTES >> 30} GiB for one message"
        )
    if child.returncode != 0:
        raise CheckpointError(f"the chat template cannot be tried: {child.stderr.decode(errors='replace')[-400:]}")
    answer = json.loads(child.stdout)
    if answer["error"] is not None:
        raise CheckpointError(f"the chat template is not usable: {answer['error']}")
    if answer["refusal"] is not None:
        _log.warning("the chat template refuses a plain conversation: %s", answer["refusal"])


def _limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _try(task: dict[str, str]) -> dict[str, str | None]:
    from jinja2 import TemplateError

    from skywork_rt.errors import InvalidArgumentError
    from skywork_rt.text.chat_template import render_chat

    refusal: str | None = None
    for messages in _TRIALS:
        try:
            render_chat(task["template"], messages, bos_token=task["bos_token"], eos_token=task["eos_token"])
            return {"error": None, "refusal": None}
        except InvalidArgumentError as error:
            if type(error.__cause__) is not TemplateError:  # raise_exception raises the base class itself
                return {"error": str(error.__cause__ or error)[:400], "refusal": None}
            refusal = str(error.__cause__)[:400]
        except (MemoryError, RecursionError) as error:
            return {"error": type(error).__name__, "refusal": None}
    return {"error": None, "refusal": refusal}


if __name__ == "__main__":
    _limit()
    print(json.dumps(_try(json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass")))))
