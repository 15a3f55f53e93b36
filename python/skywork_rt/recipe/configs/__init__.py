"""Configurations that come with the package, by their names."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.errors import InvalidArgumentError

__all__ = ["find_config", "packaged_configs"]

_FOLDER = Path(__file__).resolve().parent


def packaged_configs() -> dict[str, Path]:
    """Name to file, as run_skywork_13b."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def find_config(given: str) -> Path:
    """The file of that path, else the packaged one of that name. Raises InvalidArgumentError when there is neither."""
    path = Path(given)
    if path.is_file():
        return path
    packaged = packaged_configs()
    name = given.removesuffix(".yaml").removesuffix(".yml")
    if name in packaged:
        return packaged[name]
    problem = "is a directory" if path.is_dir() else "does not exist"
    raise InvalidArgumentError(
        f"--config {given} {problem}; give a YAML file, or the name of one that comes with the package: "
        f"{', '.join(packaged)}"
    )
