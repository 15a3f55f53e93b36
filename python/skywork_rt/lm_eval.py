"""lm-evaluation-harness with this runtime as its model `skywork_rt`: `python -m skywork_rt.lm_eval`, or import this."""

from __future__ import annotations

from skywork_rt.evaluate.lm_eval_model import SkyworkLM

__all__ = ["SkyworkLM"]

if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
