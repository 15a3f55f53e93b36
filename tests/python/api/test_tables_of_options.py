"""Each set of options and codes is written down once; what is written again for editors and people is held equal."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import skywork_rt
from skywork_rt import SamplingParams, _core, errors
from skywork_rt.api.options import GeneratorOptions
from skywork_rt.cli.options import ModelOptions, SamplingOptions
from skywork_rt.support.environment import VARIABLES
from skywork_rt.support.field_table import Field, field_table

REPOSITORY = Path(__file__).parents[3]
HEADERS = REPOSITORY / "csrc" / "include" / "skywork_rt"

SETS = {
    "SamplingParams": ("api/params.py", "sampling.h", _core.sampling_fields),
    "GeneratorOptions": ("api/options.py", "generator_options.h", _core.generator_fields),
}


def in_header(header: str, struct: str) -> dict[str, str]:
    """Field to comment, in the order of a struct of the public API."""
    text = (HEADERS / header).read_text(encoding="utf-8")
    body = text[text.index(f"struct {struct} {{") : text.index("template <typename", text.index(f"struct {struct} {{"))]
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in body.splitlines():
        said = re.match(r"\s*/// ?(.*)", line)
        field = re.match(r"\s*[\w:<>, ]+ (\w+)( = [^;]+)?;", line)
        if said:
            comment.append(said[1])
        elif field:
            found[field[1]] = " ".join(" ".join(comment).split())
            comment = []
        else:
            comment = []
    return found


@pytest.mark.parametrize("name", SETS)
def test_python_says_what_the_header_says_to_the_last_word(name: str) -> None:
    module, header, _ = SETS[name]
    ours = {field.name: field.text for field in field_table(module, name)}
    assert ours == in_header(header, name)
    assert list(ours) == list(in_header(header, name)), "in the same order"
    assert all(ours.values()), "and nothing without a text"


def test_python_and_the_header_give_the_same_order_of_processing() -> None:
    header = (HEADERS / "sampling.h").read_text(encoding="utf-8").replace("\n/// ", " ")
    (said,) = re.findall(r"Order: [^.]*\.", header)
    assert said in " ".join((SamplingParams.__doc__ or "").split())


@pytest.mark.parametrize("name", SETS)
def test_the_header_lists_every_field_of_its_struct(name: str) -> None:
    _, header, fields = SETS[name]
    assert [row["name"] for row in fields()] == list(in_header(header, name))


@pytest.mark.parametrize("name", SETS)
def test_types_and_defaults_are_the_cores(name: str) -> None:
    module, _, fields = SETS[name]
    core = {row["name"]: row for row in fields()}
    for field in field_table(module, name):
        # An int option that is 0 in C++ is None in Python; every other type says itself that it may be. C++ hands over
        # a backend of one's own in another way.
        optional = field.annotation.removesuffix(" | None") == core[field.name]["type"] == "int"
        optional = optional or (field.name, field.annotation) == ("backend", "str | PythonBackend")
        assert optional or field.annotation == core[field.name]["type"], field.name
    if name == "SamplingParams":
        for known in dataclasses.fields(SamplingParams):
            if known.name == "grammar":  # Python's alone: C++ gets a LogitsMask
                continue
            default = core[known.name]["default"]
            assert known.default == default or (known.default is None and not default), known.name


def test_editors_see_every_option_of_a_generator() -> None:
    hints = typing.get_type_hints(GeneratorOptions)
    assert list(hints) == [row["name"] for row in _core.generator_fields()]
    for kind in (skywork_rt.Generator, skywork_rt.AsyncGenerator):
        (variadic,) = (
            p for p in inspect.signature(kind.__init__).parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD
        )
        assert "Unpack[GeneratorOptions]" in str(variadic.annotation)
        for field in field_table("api/options.py", "GeneratorOptions"):
            assert f"{field.name}: {field.text}" in (kind.__doc__ or ""), "help() lists it"


@pytest.mark.parametrize("group", [SamplingOptions, ModelOptions])
def test_the_command_line_has_every_field_with_its_text(group: type[SamplingOptions]) -> None:
    parameters = {parameter.name: parameter for parameter in group.parameters()}
    for field in group.fields():
        (option,) = typing.get_args(parameters[field.name].annotation)[1:]
        assert option.help.startswith(field.text)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"stop": ["a", "b"], "n": 2}, {"stop": ["a", "b"], "n": 2}),
        ({"logit_bias": ["42=-1.5", "7=-inf"]}, {"logit_bias": {42: -1.5, 7: float("-inf")}}),
        ({"bad_words_ids": ["5,6", "9"]}, {"bad_words_ids": [[5, 6], [9]]}),
        ({"stop_token_ids": "2, 13"}, {"stop_token_ids": [2, 13]}),
        ({"ignore_eos": False, "top_k": None, "stop": []}, {"ignore_eos": False}),
    ],
)
def test_lists_are_read_from_the_command_line(given: dict[str, object], read: dict[str, object]) -> None:
    assert SamplingOptions(given).given() == read
    SamplingParams(**SamplingOptions(given).given())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"logit_bias": ["42"]}, "logit_bias is '42', but must be such as 42=-1.5"),
        ({"bad_words_ids": ["5;6"]}, "bad_words_ids is '5;6', but must be token ids"),
        ({"stop_token_ids": "x"}, "stop_token_ids is 'x', but must be token ids"),
    ],
)
def test_lists_that_are_none_are_refused_by_name(given: dict[str, object], message: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=re.escape(message)):
        SamplingOptions(given).given()


def test_every_error_code_has_a_class_and_a_comment() -> None:
    text = (HEADERS / "error.h").read_text(encoding="utf-8")
    declared = re.findall(r"///[^\n]*\n\s*k\w+ = (\d+),", text)
    codes = dict(_core.error_codes())
    assert sorted(codes.values()) == sorted(map(int, declared))
    for code in codes:
        assert errors.class_of(code).code == code
    python_only = {kind.code for kind in errors.SkyworkError.__subclasses__()} - set(codes)
    assert python_only <= {"checkpoint", "error"}


def test_nothing_reads_the_environment_past_its_table() -> None:
    """The variables that other programs are given (PYTHONPATH and so on) are handed on, not read for ourselves."""
    ours = {variable.name for variable in VARIABLES} | {name for name, _ in _core.environment_variables()}
    for path in [*(REPOSITORY / "python").rglob("*.py"), *(REPOSITORY / "export").rglob("*.py")]:
        for name in re.findall(r"environ\.get\(\"(\w+)\"", path.read_text(encoding="utf-8")):
            assert name in ("PYTHONPATH", "LD_LIBRARY_PATH"), f"{path}: {name} belongs into support/environment.py"
    for path in (REPOSITORY / "csrc").rglob("*"):
        if path.suffix in (".h", ".cc", ".inc") and path.name != "environment.h":
            assert not re.search(r"\bgetenv\(", path.read_text(encoding="utf-8")), f"{path}: use support/environment.h"
    used = set(re.findall(r"SKYWORK_RT_[A-Z_]+", (REPOSITORY / "README.md").read_text(encoding="utf-8")))
    assert used <= ours, "README names only variables that exist"


def test_the_reference_pages_are_what_the_code_says() -> None:
    script = REPOSITORY / "cmake" / "scripts" / "make_reference.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_field_without_a_docstring_has_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = 'class Sample:\n    a: int = 3\n    b: str | None\n    """Text of\n    b."""\n'
    (tmp_path / "sample.py").write_text(source)
    monkeypatch.setattr("skywork_rt.support.field_table._PACKAGE", tmp_path)
    fields = field_table("sample.py", "Sample")
    assert fields == (Field("a", "int", 3, ""), Field("b", "str | None", None, "Text of b."))
