"""The API keys of a server: from its options, a file and the environment."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.server.settings import ServerSettings
from skywork_rt.support import environment

__all__ = ["all_keys"]


def all_keys(settings: ServerSettings) -> list[str]:
    """All keys; none means that everybody may call. Raises InvalidArgumentError for a file that cannot be read."""
    keys = list(settings.keys)
    if settings.api_key_file is not None:
        keys += _lines(settings.api_key_file)
    keys += [key.strip() for key in (environment.API_KEYS.value() or "").split(",")]
    return list(dict.fromkeys(key for key in keys if key))


def _lines(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"api_key_file {path} cannot be read: {error}") from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise InvalidArgumentError(f"api_key_file {path} has no key: put one on a line")
    return keys
