"""Checkpoints made to do harm: each is refused with a typed error, and nothing in it runs."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import re
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import edit_json, small, write_hf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import skywork_rt
from skywork_rt.checkpoints.open import open_source
from skywork_rt.checkpoints.tensors.safetensors_file import SafetensorsFile
from skywork_rt.checkpoints.tensors.torch_file import TorchFile
from skywork_rt.checkpoints.tensors.torch_pickle import read_tensor_table
from skywork_rt.errors import CheckpointError, InvalidArgumentError, SkyworkError, UnsupportedError
from skywork_rt.export import export
from skywork_rt.export.template_check import check_template
from skywork_rt.text.chat_template import ChatTemplates, render_chat


class _Runs:
    """Unpickled by the standard library, this calls a function with arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._reduced


def _table(body: bytes) -> dict[str, Any]:
    return dict(read_tensor_table(body, "data.pkl"))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_calls_a_function_calls_nothing(tmp_path: Path, protocol: int) -> None:
    evidence = tmp_path / "ran"
    body = pickle.dumps({"model.norm.weight": _Runs(open, str(evidence), "w")}, protocol)
    pickle.loads(body)["model.norm.weight"].close()
    assert evidence.exists()  # the attack is real
    evidence.unlink()
    with pytest.raises(CheckpointError):
        _table(body)
    assert not evidence.exists()


GLOBALS = ["os system", "builtins eval", "builtins getattr", "torch load", "torch.storage _load_from_bytes", "a b c"]


@pytest.mark.parametrize("name", GLOBALS)
def test_any_other_global_is_refused_by_name(name: str) -> None:
    module, _, attribute = name.partition(" ")
    body = b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"."
    with pytest.raises(
        CheckpointError, match=f"asks for {module}.{attribute.replace(' ', '.')}: only weights are read"
    ):
        _table(body)


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


STORAGE = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu")
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
HOOKS = b"\x89ccollections\nOrderedDict\n)R"


def _tensor(elements: bytes, offset: bytes, shape: bytes, stride: bytes) -> bytes:
    return (
        b"\x80\x02}"
        + _text("a")
        + REBUILD
        + b"("
        + STORAGE
        + elements
        + b"tQ"
        + offset
        + shape
        + stride
        + HOOKS
        + b"tRs."
    )


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "no stop": b"\x80\x02}",
    "not a dict": b"\x80\x02]K\x01a.",
    "a number for a tensor": b"\x80\x02}" + _text("a") + b"K\x01s.",
    "reads past the storage": _tensor(b"K\x04", b"K\x01", b"K\x04\x85", b"K\x01\x85"),
    "negative offset": _tensor(b"K\x04", b"J\xff\xff\xff\xff", b"K\x04\x85", b"K\x01\x85"),
    "negative stride": _tensor(b"K\x04", b"K\x03", b"K\x04\x85", b"J\xff\xff\xff\xff\x85"),
    "ranks differ": _tensor(b"K\x04", b"K\x00", b"K\x04\x85", b")"),
    "endless elements": _tensor(b"\x8a\x09" + b"\xff" * 8 + b"\x00", b"K\x00", b"K\x04\x85", b"K\x01\x85"),
    "calls a storage": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "calls a number": b"\x80\x02K\x01)R.",
    "dict with arguments": b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
    "unknown memo": b"\x80\x02h\x07.",
    "empty stack": b"\x80\x02R.",
    "tuple without mark": b"\x80\x02t.",
    "build on nothing": b"\x80\x02K\x01}b.",
    "persistent text": b"\x80\x02" + _text("x") + b"Q.",
    "newobj": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "extension": b"\x80\x02\x82\x01.",
    "tuple as key": b"\x80\x02})" + b"K\x01s.",
    "cut text": b"\x80\x02X\xff\xff\xff\x7fa",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_malformed_pickle_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"^data\.pkl "):
        _table(HOSTILE[name])


@pytest.mark.slow
def test_a_tuple_nested_without_end_is_no_stack_overflow() -> None:
    with pytest.raises(CheckpointError):
        _table(b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.")
    with pytest.raises(CheckpointError):
        _table(b"\x80\x02)" + b"\x85" * 300_000 + b"Q.")


def test_a_small_pickle_of_endless_length_takes_no_time() -> None:
    doubling = b"\x80\x02)" + b"".join(bytes([0x71, i, 0x68, i, 0x86]) for i in range(60))
    started = time.monotonic()
    with pytest.raises(CheckpointError):
        _table(doubling + b"Q.")
    assert time.monotonic() - started < 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_pickle_with_changed_bytes_gives_tensors_or_a_typed_error(data: st.DataObject) -> None:
    body = bytearray(_tensor(b"K\x04", b"K\x00", b"K\x04\x85", b"K\x01\x85"))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        table = _table(bytes(body))
    except SkyworkError:
        return
    assert all(isinstance(name, str) for name in table)


def test_the_machine_knows_no_operation_that_imports_or_builds() -> None:
    for name in ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER"):
        code = next(op.code for op in pickletools.opcodes if op.name == name)
        arguments = {"INST": b"os\nsystem\n", "PERSID": b"x\n", "EXT1": b"\1", "EXT2": b"\1\0", "EXT4": b"\1\0\0\0"}
        with pytest.raises(CheckpointError, match=f"uses the pickle operation {name}, which no tensor needs"):
            _table(b"\x80\x05((" + code.encode("latin-1") + arguments.get(name, b"") + b".")


def _archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


GOOD_TABLE = _tensor(b"K\x04", b"K\x00", b"K\x04\x85", b"K\x01\x85")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "0 members called data.pkl"),
        ({"a/data.pkl": GOOD_TABLE, "b/data.pkl": GOOD_TABLE}, "2 members called data.pkl"),
        ({"a/data.pkl": GOOD_TABLE}, "lacks the member a/data/0"),
        ({"a/data.pkl": GOOD_TABLE, "a/data/0": bytes(15)}, "of 4 float32 elements needs 16 bytes but has 15"),
        ({"a/data.pkl": GOOD_TABLE, "a/data/0": bytes(16), "a/byteorder": b"big"}, "byte order b'big'"),
    ],
)
def test_an_archive_that_contradicts_its_table_is_refused(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    with pytest.raises((CheckpointError, UnsupportedError), match=message):
        TorchFile(_archive(tmp_path / "a.bin", members))


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = _archive(tmp_path / "a.bin", {"a/data.pkl": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(UnsupportedError, match=r"a/data.pkl is compressed"):
        TorchFile(bomb)


def test_old_and_foreign_files_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(pickle.dumps({"a": 1}, 2))
    with pytest.raises(CheckpointError, match=r"before 1\.6; load it with torch and save it again"):
        TorchFile(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="no torch checkpoint"):
        TorchFile(path)


def test_a_torch_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model", layout="bin", config=small(layers=1))
    path = directory / "pytorch_model.bin"
    raw = path.read_bytes()
    for size in np.linspace(0, len(raw) - 1, 50, dtype=int):
        path.write_bytes(raw[:size])
        with pytest.raises(CheckpointError, match=r"truncated|no torch checkpoint|is empty"):
            open_source(directory)


def _header(header: Any, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def _entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "seven bytes": (b"1234567", "it has 7 bytes, its header length alone takes 8"),
    "header past the end": (struct.pack("<Q", 100) + b"{}", "its header takes 108 bytes, the file has 10"),
    "endless header": (struct.pack("<Q", 2**63) + b"{}", "states a header of 9223372036854775808 bytes"),
    "not json": (_header(b"{"), "header that is not JSON"),
    "deep json": (_header(b"[" * 100_000), "header that is not JSON"),
    "not utf-8": (_header(b"\xff"), "header that is not JSON"),
    "a list": (_header([]), "header that is a list"),
    "same name twice": (
        _header(
            b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
        ),
        "names a tensor or a field twice",
    ),
    "entry is a number": (_header({"a": 1}), "tensor a is described by a int"),
    "no shape": (_header({"a": {"dtype": "F32"}}), "tensor a has no shape"),
    "negative shape": (_header({"a": _entry(shape=[-1])}, bytes(8)), "tensor a has no shape"),
    "float shape": (_header({"a": _entry(shape=[2.0])}, bytes(8)), "tensor a has no shape"),
    "bool shape": (_header({"a": _entry(shape=[True])}, bytes(8)), "tensor a has no shape"),
    "overflowing shape": (
        _header({"a": _entry(shape=[2**40, 2**40])}, bytes(8)),
        "needs 4835703278458516698824704 bytes",
    ),
    "three offsets": (_header({"a": _entry(offsets=[0, 4, 8])}, bytes(8)), "no data_offsets of two"),
    "end before begin": (_header({"a": _entry(offsets=[8, 0])}, bytes(8)), "takes bytes 8 to 0"),
    "past the end": (_header({"a": _entry(offsets=[0, 8])}, bytes(7)), "takes bytes 0 to 8, but the file holds 7"),
    "wrong size": (
        _header({"a": _entry(shape=[3])}, bytes(8)),
        r"of shape \[3\] and dtype F32 needs 12 bytes but has 8",
    ),
    "unknown dtype": (_header({"a": _entry(dtype="F8_E4M3")}, bytes(8)), "dtype 'F8_E4M3', which is not supported"),
    "dtype is a list": (_header({"a": _entry(dtype=[])}, bytes(8)), r"dtype '\[\]'"),
    "overlap": (_header({"a": _entry(), "b": _entry(offsets=[4, 12])}, bytes(12)), "tensor b at byte 4 overlaps"),
    "gap": (
        _header({"a": _entry(), "b": _entry(offsets=[12, 20])}, bytes(20)),
        "tensor b at byte 12 leaves a gap of 4",
    ),
    "trailing bytes": (_header({"a": _entry()}, bytes(9)), "has 1 bytes after its last tensor"),
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_a_malformed_safetensors_file_is_refused(tmp_path: Path, name: str) -> None:
    content, message = SAFETENSORS[name]
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        SafetensorsFile(tmp_path / "a.safetensors")


def test_a_safetensors_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model", config=small(layers=1))
    path = directory / "model.safetensors"
    raw = path.read_bytes()
    for size in np.linspace(0, len(raw) - 1, 50, dtype=int):
        path.write_bytes(raw[:size])
        with pytest.raises(CheckpointError, match=r"truncated|but the file holds|is empty"):
            open_source(directory)


def test_a_file_cut_after_it_was_opened_is_noticed(tmp_path: Path) -> None:
    for layout, file in (("safetensors", "model.safetensors"), ("bin", "pytorch_model.bin")):
        directory = write_hf(tmp_path / layout, layout=layout)
        source = open_source(directory)
        (directory / file).write_bytes((directory / file).read_bytes()[:5000])
        with pytest.raises(CheckpointError, match=r"is truncated: .* elements at byte"):
            source.tensor("lm_head")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.dictionaries(
        st.text(max_size=3),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "BF16", "U8", "X"]),
                "shape": st.lists(st.integers(-1, 2**63), max_size=3),
                "data_offsets": st.lists(st.integers(-1, 2**63), max_size=3),
            }
        ),
        max_size=3,
    )
)
def test_random_headers_give_a_table_or_a_typed_error(tmp_path: Path, header: dict[str, Any]) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(_header(header, bytes(64)))
    try:
        tensors = SafetensorsFile(path).tensors
    except SkyworkError:
        return
    assert set(tensors) == set(header) - {"__metadata__"}


TEMPLATES: dict[str, tuple[str, str]] = {
    "syntax": ("{% for %}", "Expected|expected"),
    "leaves the sandbox": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError.*unsafe"),
    "reaches globals": ("{{ raise_exception.__globals__['os'].system('true') }}", "SecurityError.*unsafe"),
    "imports": ("{{ self.__init__.__globals__.__builtins__.__import__('os') }}", "SecurityError.*unsafe"),
    "changes messages": ("{{ messages.append(1) }}", "SecurityError.*unsafe"),
    "fills the memory": ("{{ 'x' * 100000000000 }}", "MemoryError|takes more than"),
    "unknown filter": ("{{ messages | shell }}", "No filter named 'shell'"),
    "too long": ("x" * ((1 << 20) + 1), "has 1048577 characters"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_does_harm_cannot_be_used(name: str, caplog: pytest.LogCaptureFixture) -> None:
    template, message = TEMPLATES[name]
    reason = check_template("default", template, {})
    assert reason is not None
    assert re.search(message, reason), reason
    assert reason in caplog.text


def test_a_template_that_includes_a_file_reads_none(caplog: pytest.LogCaptureFixture) -> None:
    check_template("default", "{% include '/etc/passwd' %}", {})
    assert "no loader for this environment" in caplog.text
    with pytest.raises(InvalidArgumentError, match="no loader"):
        render_chat(ChatTemplates({"default": "{% include '/etc/passwd' %}"}), [{"role": "user", "content": "Hi"}])


@pytest.mark.slow
def test_a_template_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skywork_rt.export.template_check._SECONDS", 1)  # the parent's patience; the child has its own
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    assert check_template("default", endless, {}) == "it takes more than 1 s or 2 GiB for one message"


def test_templates_of_real_models_pass(smollm2_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = open_source(smollm2_file).tokenizer()
    assert files is not None
    assert files.chat_template is not None
    assert check_template("default", files.chat_template, files.special_tokens) is None
    system_first = "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}ok"
    assert check_template("default", system_first, {}) is None
    assert not caplog.text
    assert check_template("default", "{{ raise_exception('never') }}", {}) is None
    assert "refuses a conversation of one message: the chat template refuses these messages: never" in caplog.text
    assert check_template("default", "{{ undefined_function() }}", {}) is None, "may do for other messages"


def test_a_template_that_cannot_be_used_costs_a_warning_and_the_chat(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = write_hf(tmp_path / "model", tokenizer="byte-level")
    templates = [
        {"name": "default", "template": "{% endfor %}"},
        {"name": "tool_use", "template": "{{ tools[0].name }}"},
    ]
    edit_json(directory / "tokenizer_config.json", chat_template=templates)
    with skywork_rt.Generator(export(directory, tmp_path / "bundle", targets=["native"], weights=["f32"])) as generator:
        assert "the chat template 'default' cannot be used, and chat() will say so" in caplog.text
        with pytest.raises(UnsupportedError, match=r"cannot be used: .*endfor.*; use generate\(\)"):
            generator.chat([{"role": "user", "content": "Hi"}])
        with_tools = generator.encode_chat([{"role": "user", "content": "Hi"}], tools=[{"name": "search"}])
        assert generator.decode(with_tools) == "search"
        assert generator.generate("Hi", max_tokens=1).outputs


def test_names_of_bundles_hold_no_path(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model")
    source = open_source(directory / ".." / "model" / ".")
    assert (source.name, source.config.name) == ("model", "model")
    buffer = io.StringIO()
    json.dump(source.config.to_json(), buffer)
    assert str(tmp_path) not in buffer.getvalue()
