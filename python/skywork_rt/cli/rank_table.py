"""skywork-rt rank-table"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from skywork_rt.errors import InvalidArgumentError

__all__ = ["rank_table"]


def rank_table(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="DEVICES | FILE…",
            help="Devices of this server such as '[0,8)'; or rank tables, ModelArts' too, which become one.",
        ),
    ],
    server_ip: Annotated[
        str | None, typer.Option("--server-ip", "--server_ip", help="Address of this server. Default: found.")
    ] = None,
    hccn_conf: Annotated[
        Path | None, typer.Option("--hccn-conf", help="File of the devices' addresses. Default: /etc/hccn.conf.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write. Default: named as hccl_tools.py names it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write the rank table of this server's devices, or one table of several."""
    from skywork_rt.recipe.launch.devices import device_range
    from skywork_rt.recipe.launch.rank_table import check_address, make_table, merge_tables, read_table

    if server_ip is not None:
        check_address(server_ip, "--server-ip")
    if len(sources) == 1 and sources[0].lstrip().startswith("["):
        table = make_table(device_range(sources[0]), server_ip, hccn_conf)
    else:
        table = merge_tables([read_table(Path(source)) for source in sources])
    path = out or Path(table.file_name())
    if path.exists() and not overwrite:
        raise InvalidArgumentError(f"{path} exists; give another name by --out, or --overwrite")
    beside = path.with_name(f".{path.name}.partial")
    try:
        beside.write_text(table.to_json() + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise InvalidArgumentError(f"--out {path} cannot be written: {_cause(path, error)}") from error
    print(f"{table.size} ranks on {len(table.servers)} server{'s' if len(table.servers) > 1 else ''}: {path}")


def _cause(path: Path, error: OSError) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    return "it is a folder" if path.is_dir() else str(error.strerror)
