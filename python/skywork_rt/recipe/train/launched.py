"""A training of several ranks as a launch of msrun."""

from __future__ import annotations

import copy
import json

from skywork_rt.recipe.launch.launcher import Launch
from skywork_rt.recipe.train.agreement import COMPARED
from skywork_rt.recipe.train.plan import Plan, ranks_of
from skywork_rt.recipe.train.prepare_start import prepare_start
from skywork_rt.recipe.train.settings import at, dump_settings
from skywork_rt.support.stages import Progress

__all__ = ["launch_of"]


def launch_of(plan: Plan, progress: Progress) -> Launch:
    """What is done once for all ranks is done here (converting, splitting); the ranks get the configuration as it was
    checked, and check it again for themselves. Rank 0 removes what --overwrite is for once all checks are done."""
    ranks = ranks_of(plan.settings)
    settings = copy.deepcopy(plan.settings)
    load = prepare_start(plan, progress)
    if load is not None:  # where nothing was made, every rank finds its own file at what was given
        settings["load_checkpoint"] = str(plan.given if load == plan.start_path else load)
    settings["auto_trans_ckpt"] = False
    settings["run_mode"] = plan.mode
    path = plan.output.folder / "config" / "launch.yaml"
    dump_settings(settings, path)
    command = ["-m", "skywork_rt", "train", "--config", str(path)]
    if plan.peak_flops is not None:
        command += ["--peak-tflops", str(plan.peak_flops / 1e12)]
    if plan.overwrite:
        command.append("--overwrite")
    for key in set(dict(plan.changes)) & COMPARED:  # they are in the file; that they were set on purpose is not
        command += ["--set", f"{key}={json.dumps(at(settings, key))}"]
    stages = int(at(plan.settings, "parallel_config.pipeline_stage", 1))
    return Launch(command, ranks, plan.output.logs, follow=ranks - 1 if stages > 1 else 0)
