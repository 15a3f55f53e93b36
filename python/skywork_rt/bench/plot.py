"""The seed's table as a picture: what short answers lose, beside the published columns. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from skywork_rt.bench.markdown import seed_rates
from skywork_rt.bench.metrics import SEED_BATCH, SEED_LENGTHS
from skywork_rt.bench.runner import Measurements
from skywork_rt.errors import UnsupportedError
from skywork_rt.plan.published import A100, ATLAS_800T_A2, relative_to_longest

__all__ = ["plot_seed_table", "require_matplotlib"]


def require_matplotlib() -> None:
    """Raises UnsupportedError with the command that installs it, before anything is measured for hours."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UnsupportedError("a plot needs matplotlib; install it with pip install 'skywork_rt[bench]'") from error


def plot_seed_table(path: Path, measurements: Measurements) -> None:
    """Writes the picture; its format follows the file's suffix.

    Raises UnsupportedError when no runtime was measured at every length, or without matplotlib.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # the class alone: no display, no global state

    measured: dict[str, Mapping[int, float]] = {
        s.label: rates for s in measurements.subjects if (rates := seed_rates(measurements, s))
    }
    if not measured:
        raise UnsupportedError(
            "a plot needs new_32 … new_1024 of one runtime at least; measure them with --metric 'new_*'"
        )
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    published: dict[str, Mapping[int, float]] = {"Atlas 800T A2 (published)": ATLAS_800T_A2, "A100 (published)": A100}
    for style, curves in (("--", published), ("-", measured)):
        for label, curve in curves.items():
            relative = relative_to_longest(curve)
            axes.plot(list(relative), list(relative.values()), style, marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(SEED_LENGTHS, [str(length) for length in SEED_LENGTHS])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"generated tokens, batch {SEED_BATCH}")
    axes.set_ylabel(f"tokens/s, by tokens/s at {SEED_LENGTHS[-1]}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
