"""The check that dependencies point one way, on small made-up trees."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_layers import CPP_ROOMS, PYTHON_ROOMS, Table, cpp_uses, find_circle, judge, python_uses

CPP: Table = {
    "include": frozenset(),
    "support": frozenset({"include"}),
    "backend": frozenset({"include", "support"}),
    "backend/lite": frozenset({"backend"}),
}
PYTHON: Table = {
    "errors": frozenset(),
    "support": frozenset({"errors"}),
    "api": frozenset({"support"}),
    "skywork_rt": frozenset({"api"}),
    "export": frozenset({"support"}),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository in which every dependency points down."""
    files = {
        "csrc/include/skywork_rt/span.h": "#pragma once\n",
        "csrc/support/log.h": '#include <string>\n#include "skywork_rt/span.h"\n',
        "csrc/backend/backend.h": '#include "support/log.h"\n',
        "csrc/backend/lite/session.h": '#include "backend/backend.h"\n#include "api/model.h"\n',
        "python/skywork_rt/__init__.py": "from skywork_rt.api.generator import Generator\n",
        "python/skywork_rt/errors.py": "import os\n",
        "python/skywork_rt/support/host.py": "from skywork_rt.errors import Error\n",
        "python/skywork_rt/api/generator.py": "from skywork_rt.support import host\n",
        "export/exporter.py": "from skywork_rt.support.host import memory\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "python/skywork_rt/export").symlink_to("../../export")
    return tmp_path


def cpp_problems(tree: Path, table: Table = CPP) -> list[str]:
    return judge("C++", table, cpp_uses(tree / "csrc", table))


def python_problems(tree: Path, table: Table = PYTHON) -> list[str]:
    return judge("Python", table, python_uses(tree, table))


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


def test_a_tree_that_keeps_to_the_tables_has_no_problems(tree: Path) -> None:
    assert cpp_problems(tree) == []
    assert python_problems(tree) == []


@pytest.mark.parametrize("line", ['#include "backend/backend.h"', "  #  include <backend/backend.h>"])
def test_an_include_that_points_up_is_named_with_its_place_and_the_way_out(tree: Path, line: str) -> None:
    append(tree / "csrc/support/log.h", line)
    problem = cpp_problems(tree)[0]
    assert problem.startswith(f"csrc/support/log.h:3: {line.strip()}\n")
    assert "support uses backend, but it may use only include" in problem
    assert "into a room below" in problem


def test_an_include_beside_the_file_counts_for_the_room_it_is_in(tree: Path) -> None:
    append(tree / "csrc/backend/backend.h", '#include "lite/session.h"')
    assert "The room backend uses backend/lite" in cpp_problems(tree)[0]


def test_two_files_may_be_a_room_of_their_own(tree: Path) -> None:
    (tree / "csrc/backend/registry.cc").write_text('#include "backend/lite/session.h"\n')
    assert "The room backend uses backend/lite" in cpp_problems(tree)[0]
    assert cpp_problems(tree, {**CPP, "backend/registry": frozenset({"backend/lite"})}) == []


@pytest.mark.parametrize(
    "line",
    [
        "from skywork_rt.api.generator import Generator",
        "from skywork_rt import api",
        "import skywork_rt.api.generator",
        "import skywork_rt.api.generator as g",
        "def late():\n    from skywork_rt.api import generator",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from skywork_rt.api.generator import Generator",
        "from ..api import generator",
        "import skywork_rt\nskywork_rt.api.generator",
    ],
)
def test_every_way_to_import_upwards_is_seen(tree: Path, line: str) -> None:
    append(tree / "python/skywork_rt/support/host.py", line)
    problem = python_problems(tree)[0]
    last = line.splitlines()[-1].strip()
    assert problem.startswith(f"python/skywork_rt/support/host.py:{1 + len(line.splitlines())}: {last}\n")
    assert "The room support uses api, but it may use only errors" in problem


def test_public_names_belong_to_the_package_itself(tree: Path) -> None:
    for line in ("from skywork_rt import Generator", "import skywork_rt\nskywork_rt.Generator()"):
        (tree / "export/exporter.py").write_text(line + "\n")
        (problem,) = python_problems(tree)
        assert "The room export uses skywork_rt, but it may use only support" in problem


def test_where_the_package_lies_is_no_use_of_it(tree: Path) -> None:
    append(tree / "export/exporter.py", "import skywork_rt\nprint(skywork_rt.__path__[0])")
    assert python_problems(tree) == []


def test_the_half_that_lies_elsewhere_is_checked_once_and_where_it_is(tree: Path) -> None:
    append(tree / "export/exporter.py", "from skywork_rt.errors import Error")
    (problem,) = python_problems(tree)
    assert problem.startswith("export/exporter.py:2: ")


def test_a_circle_is_shown_even_where_the_table_allows_it(tree: Path) -> None:
    append(tree / "python/skywork_rt/errors.py", "from skywork_rt.support import host")
    problems = python_problems(tree, {**PYTHON, "errors": frozenset({"support"})})
    assert [problem.count("support → errors → support") for problem in problems] == [1, 1]
    assert "The table of Python rooms allows a circle" in problems[0]


def test_a_circle_of_three_rooms_is_found_beside_what_is_no_circle() -> None:
    uses = {"a": ["b"], "b": ["c", "d"], "c": ["d"], "d": [], "e": ["c"]}
    assert find_circle(uses) == []
    assert find_circle({**uses, "d": ["b"]}) == ["b", "c", "d", "b"]


def test_a_room_that_the_table_does_not_have_is_named(tree: Path) -> None:
    (tree / "python/skywork_rt/server").mkdir()
    (tree / "python/skywork_rt/server/app.py").write_text("import os\n")
    assert "no room 'server'" in python_problems(tree)[0]
    (tree / "csrc/model").mkdir()
    (tree / "csrc/model/model.h").write_text("")
    assert "no room 'model'" in cpp_problems(tree)[0]


def test_a_half_that_has_moved_away_is_missed(tree: Path) -> None:
    (tree / "export").rename(tree / "exporting")
    assert python_problems(tree) == ["The table of Python rooms has 'export', but no file is in it. Has it moved?"]


@pytest.mark.parametrize("table", [CPP_ROOMS, PYTHON_ROOMS])
def test_our_own_tables_name_known_rooms_only(table: Table) -> None:
    assert frozenset().union(*table.values()) <= table.keys()
