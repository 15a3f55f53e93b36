"""A stand-in for `mindspore.context`: everything runs on this machine's processor, so most of it changes nothing.

The names are those that MindSpore 2.2 documents for set_context.
"""

from __future__ import annotations

from typing import Any

from skywork_rt.compat.notices import ignored
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["GRAPH_MODE", "PYNATIVE_MODE", "get_context", "set_auto_parallel_context", "set_context"]

GRAPH_MODE, PYNATIVE_MODE = 0, 1

_DEFAULTS: dict[str, Any] = {
    "mode": PYNATIVE_MODE,
    "device_target": "CPU",
    "device_id": 0,
    "runtime_num_threads": 0,
    "max_call_depth": 1000,
    "max_device_memory": "1024GB",
    "variable_memory_max_size": "30GB",
    "memory_optimize_level": "O0",
    "mempool_block_size": "1GB",
    "save_graphs": False,
    "save_graphs_path": ".",
    "precompile_only": False,
    "reserve_class_name_in_scope": True,
    "pynative_synchronize": False,
    "enable_dump": False,
    "save_dump_path": ".",
    "print_file_path": "",
    "enable_reduce_precision": True,
    "auto_tune_mode": "NO_TUNE",
    "check_bprop": False,
    "enable_graph_kernel": False,
    "graph_kernel_flags": "",
    "grad_for_scalar": False,
    "enable_compile_cache": False,
    "compile_cache_path": ".",
    "deterministic": "OFF",
    "disable_format_transform": False,
    "support_binary": False,
    "jit_syntax_level": 2,
    "jit_config": None,
    "ascend_config": None,
    "gpu_config": None,
    "op_timeout": 900,
    "aoe_tune_mode": "",
    "aoe_config": None,
    "exec_order": "bfs",
    "inter_op_parallel_num": 0,
    "env_config_path": "",
    "max_kernel_num": 0,
}
_EFFECTIVE = {"mode", "runtime_num_threads"}
_context: dict[str, Any] = dict(_DEFAULTS)


def set_context(**options: Any) -> None:
    """Takes what MindSpore's does. `mode` changes nothing (both give the same results); `runtime_num_threads` is how
    many threads models that are opened afterwards compute with. Everything else warns once that it has no effect.

    Raises InvalidArgumentError for an unknown name, with the nearest one.
    """
    refuse_unknown("set_context", options, _DEFAULTS)
    _check(options)
    for name, value in options.items():
        if name == "device_target" and value != "CPU":
            ignored("set_context", f"device_target={value!r}", _PROCESSOR)
        elif name == "device_id" and value:
            ignored("set_context", f"device_id={value!r}", _PROCESSOR)
        elif name not in _EFFECTIVE | {"device_target", "device_id"} and value != _DEFAULTS[name]:
            ignored("set_context", name, "it concerns MindSpore's own execution, which is not used")
    _context.update(options)


_PROCESSOR = "models are computed with on this machine's processor; leave it out, or write device_target='CPU'"


def get_context(attr_key: str) -> Any:
    """One of the values. Raises InvalidArgumentError for an unknown name."""
    refuse_unknown("get_context", [attr_key], _DEFAULTS)
    return _context[attr_key]


def set_auto_parallel_context(**options: Any) -> None:
    """Warns once: a model is computed with in one process here."""
    if options:
        ignored("set_auto_parallel_context", ", ".join(sorted(options)), "a model runs in one process")


def _check(options: dict[str, Any]) -> None:
    if options.get("mode", GRAPH_MODE) not in (GRAPH_MODE, PYNATIVE_MODE):
        raise InvalidArgumentError(f"set_context: mode is {options['mode']!r}, but must be GRAPH_MODE or PYNATIVE_MODE")
    if options.get("device_target", "CPU") not in ("CPU", "Ascend", "GPU"):
        raise InvalidArgumentError(
            f"set_context: device_target is {options['device_target']!r}, but must be CPU, Ascend or GPU"
        )
    for name in ("device_id", "runtime_num_threads"):
        value = options.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidArgumentError(f"set_context: {name} is {value!r}, but must be a whole number of at least 0")
