"""A MindSpore Lite in miniature: shared libraries with its names, its entangling symbols and its needs, in a wheel.

Run as a program it installs that wheel: the tests of races and kills need processes of their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import skywork_rt.lite.location as locating
from skywork_rt.lite.release import Release

installing = importlib.import_module("skywork_rt.lite.install")  # the package has a function of this name

# An inline variable is STB_GNU_UNIQUE; one of namespace mindspore and one that is not.
_CORE = """
namespace mindspore { inline int registry = 7; }
namespace other { inline int registry = 9; }
extern "C" int mindspore_log_calls = 0;
extern "C" void mindspore_log_init() { ++mindspore_log_calls; }
extern "C" int glog_value();
extern "C" int core_value() { return mindspore::registry + other::registry + glog_value() - 100; }
"""
_MAIN = """
#include <sched.h>
extern "C" int core_value();
extern "C" int glog_value();
extern "C" void mindspore_log_init();
extern "C" int lite_value() { mindspore_log_init(); sched_yield(); return core_value() + glog_value(); }
"""

RELEASE = Release(
    version="9.9.9",
    patch=3,
    platform_tag="manylinux1_x86_64",
    python_tag="37",
    abi_tag="cp37m",
    wheel_bytes=0,
    wheel_sha256="",
    package="mindspore_lite",
    libraries=("libskyworkrt_glog.so.0", "libskyworkrt_core.so", "libmain.so"),
    companions=(),
    renamed={"libmindspore_glog.so.0": "libskyworkrt_glog.so.0", "libmindspore_core.so": "libskyworkrt_core.so"},
    weakened="9mindspore",
    redirected={"libmain.so": {"mindspore_log_init": "sched_yield"}},
)


def compile_library(folder: Path, name: str, code: str, *needed: str) -> Path:
    """Compiles C++ into a shared object that calls itself `name`."""
    source = folder / f"{name}.cc"
    source.write_text(code)
    command = ["g++", "-std=c++17", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
    subprocess.run([*command, *(str(folder / other) for other in needed)], check=True)
    return folder / name


def build_libraries(folder: Path) -> None:
    """The original libraries, as the wheel has them."""
    compile_library(folder, "libmindspore_glog.so.0", 'extern "C" int glog_value() { return 100; }')
    compile_library(folder, "libmindspore_core.so", _CORE, "libmindspore_glog.so.0")
    compile_library(folder, "libmain.so", _MAIN, "libmindspore_core.so", "libmindspore_glog.so.0")


def build_wheel(folder: Path) -> tuple[Path, Release]:
    """The wheel, and the release that describes it."""
    build_libraries(folder)
    wheel = folder / "mindspore_lite-9.9.9-cp37-cp37m-manylinux1_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for library in RELEASE.libraries:
            original = RELEASE.original_name(library)
            archive.write(folder / original, f"mindspore_lite/lib/{original}")
        archive.writestr("mindspore_lite/lib/libunused.so", "not wanted")
        archive.writestr("mindspore_lite/include/api/model.h", "#pragma once\n")
    contents = wheel.read_bytes()
    release = dataclasses.replace(RELEASE, wheel_bytes=len(contents), wheel_sha256=hashlib.sha256(contents).hexdigest())
    return wheel, release


def use_release(release: Release) -> None:
    """Makes skywork_rt.lite install this release."""
    for module in (installing, locating):
        module.release_for_this_machine = lambda: release  # type: ignore[attr-defined]


def _main() -> None:
    """synthetic_lite.py WHEEL [hang]: installs, or stops for ever in the middle of patching."""
    wheel = Path(sys.argv[1])
    contents = wheel.read_bytes()
    use_release(
        dataclasses.replace(RELEASE, wheel_bytes=len(contents), wheel_sha256=hashlib.sha256(contents).hexdigest())
    )

    def progress(stage: str, done: int, _total: int) -> None:
        print(stage, flush=True)
        if stage == "patching" and done == 1 and "hang" in sys.argv:
            time.sleep(600)

    print(installing.install(progress).home, flush=True)


def compiler_is_missing() -> bool:
    """Whether the libraries cannot be made here."""
    return shutil.which("g++") is None


if __name__ == "__main__":
    os.environ["SKYWORK_RT_LITE_WHEEL"] = sys.argv[1]
    _main()
