"""The parts of a bundle that only Python reads: tokenizer, chat template, generation_config.json.

The core has opened and checked the bundle before any of this runs; docs/bundle-format.md describes it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from skywork_rt.errors import BundleNotFoundError, CorruptBundleError

__all__ = ["BundleInfo"]

_SMALL_FILE_LIMIT = 256 << 20  # bytes; a tokenizer beyond this is no tokenizer


@dataclass(frozen=True)
class BundleInfo:
    """A bundle directory and its parsed model.json."""

    directory: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> BundleInfo:
        """Reads model.json. Raises BundleNotFoundError, CorruptBundleError."""
        path = Path(directory)
        try:
            manifest = json.loads((path / "model.json").read_bytes())
        except FileNotFoundError as error:
            raise BundleNotFoundError(f"{path} is no bundle: it has no model.json") from error
        except NotADirectoryError as error:
            raise BundleNotFoundError(f"{path} is a file; a bundle is a directory") from error
        except (ValueError, RecursionError) as error:
            raise CorruptBundleError(f"{path / 'model.json'} is not JSON: {error}") from error
        if not isinstance(manifest, dict):
            raise CorruptBundleError(f"{path / 'model.json'} holds no object")
        return cls(path, manifest)

    def section(self, name: str) -> dict[str, Any]:
        """A part of model.json; empty when it is absent."""
        value = self.manifest.get(name) or {}
        if not isinstance(value, dict):
            raise CorruptBundleError(f"{self.directory / 'model.json'}: {name!r} is no object")
        return value

    def read_checked(self, name: str) -> bytes:
        """A small file of the bundle, its size and SHA-256 compared with what model.json states."""
        entry = self.section("files").get(name)
        if not isinstance(entry, dict) or name != Path(name).name:
            raise CorruptBundleError(f"{self.directory / 'model.json'} does not list the file {name!r}")
        path = self.directory / name
        try:
            if path.stat().st_size > _SMALL_FILE_LIMIT:
                raise CorruptBundleError(f"{path} has {path.stat().st_size} bytes, over {_SMALL_FILE_LIMIT}")
            data = path.read_bytes()
        except OSError as error:
            raise CorruptBundleError(f"{path} cannot be read: {error.strerror}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != entry.get("sha256"):
            raise CorruptBundleError(f"{path} has SHA-256 {found}, but model.json says {entry.get('sha256')}")
        return data

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        """The model's generation_config.json; empty when the bundle has none."""
        for name, entry in self.section("files").items():
            if isinstance(entry, dict) and entry.get("role") == "generation_config":
                try:
                    config = json.loads(self.read_checked(name))
                except (ValueError, RecursionError) as error:
                    raise CorruptBundleError(f"{self.directory / name} is not JSON: {error}") from error
                if not isinstance(config, dict):
                    raise CorruptBundleError(f"{self.directory / name} holds no object")
                return config
        return {}
