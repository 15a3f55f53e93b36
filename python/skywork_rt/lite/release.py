"""Which MindSpore Lite this project prepares, and what is done to it."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from skywork_rt.errors import UnsupportedError
from skywork_rt.support.download import Wheel

__all__ = ["Release", "release_for_this_machine"]


@dataclass(frozen=True)
class Release:
    """One wheel of the package registry and how its libraries are made to live beside the MindSpore framework."""

    version: str
    """Of MindSpore Lite."""
    patch: int
    """Raised whenever the patches below change, so that an older preparation is not mistaken for this one."""
    platform_tag: str
    python_tag: str
    abi_tag: str
    wheel_bytes: int
    wheel_sha256: str
    package: str
    """Directory inside the wheel."""
    libraries: tuple[str, ...]
    """What the CPU path links, each after what it needs; file names after renaming, in the order of loading."""
    companions: tuple[str, ...]
    """Opened by Lite itself, by file name, from the folder of the libraries."""
    renamed: dict[str, str]
    """Library names that the MindSpore framework uses too, and ours for them (the same length: edited in place)."""
    weakened: str
    """STB_GNU_UNIQUE symbols whose mangled name contains this become weak; the standard library's stay unique."""

    redirected: dict[str, dict[str, str]]
    """A library to functions that it imports, and others of its imports that it calls instead."""

    @property
    def main_library(self) -> str:
        """The library whose C++ API is used."""
        return self.libraries[-1]

    @property
    def directory_name(self) -> str:
        """Name of the prepared directory."""
        return f"{self.version}-{self.patch}"

    @property
    def requirement(self) -> str:
        """The wheel as pip names it."""
        return f"mindspore-lite=={self.version}"

    @property
    def wheel(self) -> Wheel:
        """It is tagged for an old Python; its C++ parts, all that is used, do not care."""
        tags = (
            f"--python-version={self.python_tag}",
            "--implementation=cp",
            f"--abi={self.abi_tag}",
            f"--platform={self.platform_tag}",
        )
        return Wheel(self.requirement, self.wheel_bytes, tags)

    def original_name(self, library: str) -> str:
        """The file name that a prepared library has in the wheel."""
        return {new: old for old, new in self.renamed.items()}.get(library, library)


_X86_64 = Release(
    version="2.0.0",
    patch=1,
    platform_tag="manylinux1_x86_64",
    python_tag="37",
    abi_tag="cp37m",
    wheel_bytes=168_649_943,
    wheel_sha256="199cd0605cc985b88eddb273db9dfe9000a585ba10ca2292b6b36ebfff07b3ec",
    package="mindspore_lite",
    libraries=(
        "libskyworkrt_glog.so.0",
        "libskyworkrt_core.so",
        "libmslite_converter_plugin.so",
        "libskrtcv_core.so.4.5",
        "libskrtcv_imgproc.so.4.5",
        "libskrtcv_imgcodecs.so.4.5",
        "libdnrt.so.2",
        "libmindspore_converter.so",
        "libmindspore-extendrt_python.so",
    ),
    companions=("libruntime_convert_plugin_python.so", "libmsplugin-ge-litert_python.so"),
    renamed={
        "libmindspore_glog.so.0": "libskyworkrt_glog.so.0",
        "libmindspore_core.so": "libskyworkrt_core.so",
        "libopencv_core.so.4.5": "libskrtcv_core.so.4.5",
        "libopencv_imgproc.so.4.5": "libskrtcv_imgproc.so.4.5",
        "libopencv_imgcodecs.so.4.5": "libskrtcv_imgcodecs.so.4.5",
        "libdnnl.so.2": "libdnrt.so.2",
    },
    weakened="9mindspore",
    # They call it for every model and session. It turns the log to stderr on again, which the core's loading has done
    # once already. Yielding is harmless.
    redirected={
        "libmindspore-extendrt_python.so": {"mindspore_log_init": "sched_yield"},
        "libmsplugin-ge-litert_python.so": {"mindspore_log_init": "sched_yield"},
    },
)


def release_for_this_machine() -> Release:
    """The release for this machine. Raises UnsupportedError where the registry has none that is known to work."""
    machine, system = platform.machine(), platform.system()
    if (system, machine) != ("Linux", "x86_64"):
        raise UnsupportedError(
            f"No MindSpore Lite wheel is known to work on {system} {machine} (only on Linux x86_64). "
            "Set LITE_HOME to an unpacked MindSpore Lite 2.2 or later for this machine."
        )
    return _X86_64
