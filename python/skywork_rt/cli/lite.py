"""skywork-rt lite"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="MindSpore Lite: prepare it, find it.", no_args_is_help=True)


@app.command()
def install(
    force: Annotated[bool, typer.Option("--force", help="Prepare it anew, even if it is there.")] = False,
) -> None:
    """Prepare MindSpore Lite in the cache (168 MB to download, 350 MB there)."""
    from skywork_rt.lite import install as run
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as progress:
        location = run(progress, force=force)
    print(f"MindSpore Lite {location.version} in {location.home}")


@app.command()
def path() -> None:
    """Print the folder of the MindSpore Lite that is used."""
    from skywork_rt.lite import locate

    print(locate().home)
