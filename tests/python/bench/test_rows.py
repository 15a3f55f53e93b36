from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skywork_rt.bench.rows import check_document, document, make_row, write_document

ROW = make_row("skywork_rt:native", "int4/f32", 5.7419, "decode_b1", "tokens/s", [170.0, 160.0, 181.5])


def test_a_row_has_exactly_the_published_fields() -> None:
    assert document({"cpu": "x"}, [ROW]) == {
        "machine": {"cpu": "x"},
        "rows": [
            {
                "runtime": "skywork_rt:native",
                "weights": "int4/f32",
                "bits_per_weight": 5.742,
                "metric": "decode_b1",
                "unit": "tokens/s",
                "median": 170.0,
                "min": 160.0,
                "max": 181.5,
            }
        ],
    }


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    write_document(tmp_path / "rows.json", {"cpu": "é"}, [ROW])
    assert check_document(json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))) == [ROW]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"median": float("nan")}, "median is nan"),
        ({"median": 1.0}, "outside of"),
        ({"min": True}, "min is True"),
        ({"max": -1.0}, "max is -1.0"),
        ({"unit": ""}, "unit is ''"),
        ({"bits_per_weight": "4"}, "bits_per_weight is '4'"),
        ({"extra": 1}, "exactly the fields"),
    ],
)
def test_a_document_with_a_bad_row_is_refused_by_name(change: dict[str, Any], complaint: str) -> None:
    loaded = document({}, [ROW])
    loaded["rows"][0].update(change)
    with pytest.raises(ValueError, match=complaint):
        check_document(loaded)


@pytest.mark.parametrize("loaded", [[], {}, {"machine": {}, "rows": {}}, {"machine": {}, "rows": [], "more": 1}])
def test_what_is_no_document_is_refused(loaded: Any) -> None:
    with pytest.raises(ValueError, match=r"machine|rows"):
        check_document(loaded)
