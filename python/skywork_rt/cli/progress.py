"""The progress bars of the command line, for scripts that want the same ones."""

from skywork_rt.support.progress import progress_bars

__all__ = ["progress_bars"]
