"""Making the bundles of the tests through the real export, each once for one state of the export's sources."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from random_models import CASES, SEED, Case

import skywork_rt.export
from skywork_rt.export import export
from skywork_rt.export.synth import preset, write_random_hf

Tokenizer = Literal["byte-level", "sentencepiece", "none"]

#: In the manner of ChatML, with what real templates use: loops, conditions, trimming, raise_exception.
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {%- if message['role'] not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('unknown role ' + message['role']) }}
    {%- endif %}
    {{- '[' + message['role'] + '] ' + message['content'] + eos_token + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant] ' }}
{%- endif %}"""


def cache_directory() -> Path:
    """Where models and bundles of tests stay between runs."""
    configured = os.environ.get("SKYWORK_RT_TEST_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "skywork_rt" / "test-data"


def bundle_of(name: str, make_source: Callable[..., Path], **arguments: Any) -> Path:
    """The bundle `name`, exported for every backend from what `make_source(directory)` writes."""
    root = cache_directory() / "bundles"
    root.mkdir(parents=True, exist_ok=True)
    bundle = root / f"{name}-{_export_state()}"
    with (root / f"{name}.lock").open("w") as lock:  # two test processes at once make it once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not bundle.exists():
            for old in root.glob(f"{name}-{'?' * len(_export_state())}"):
                shutil.rmtree(old)
            work = root / f"{name}.source"
            shutil.rmtree(work, ignore_errors=True)
            export(make_source(work, **arguments), bundle, targets=("lite", "native"))
            shutil.rmtree(work, ignore_errors=True)
    return bundle


def tiny_source(directory: Path, kind: Tokenizer = "byte-level") -> Path:
    """The random model `tiny` as a Hugging Face directory."""
    write_random_hf(directory, preset("tiny"), SEED, tokenizer=kind)
    if kind != "none":
        (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return directory


def random_source(directory: Path, case: Case) -> Path:
    """One of the random models of the golden files as a Hugging Face directory."""
    return write_random_hf(
        directory, case.config, SEED, model_type=case.model_type, tokenizer="none", rope_scaling=case.rope_scaling
    )


def random_bundle(name: str) -> Path:
    """The bundle of one of the random models of the golden files."""
    return bundle_of(f"random-{name}", random_source, case=CASES[name])


def smollm2_source() -> Path:
    """SmolLM2's GGUF file, fetched when it is missing."""
    from skywork_rt.testdata import smollm2

    return smollm2()


def _export_state() -> str:
    """Short hash of the export's Python sources: another exporter, another bundle."""
    root = Path(skywork_rt.export.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
