"""What the source says of added options is what the classes have."""

import dataclasses
from pathlib import Path

from aoft_bench import methods
from aoft_bench.config.added_options import added_options, without_added


def test_the_source_says_what_the_classes_have() -> None:
    found = added_options(Path(methods.__file__).parent)
    expected = {
        name: {f.name: f.default for f in dataclasses.fields(methods.get(name)) if f.metadata.get("added")}
        for name in methods.names()
    }
    assert found == {name: options for name, options in expected.items() if options} and found["aoft_adapter"]
    given = {"name": "aoft", "keep_bias": True, "detach_q0": True, "rank": 8}
    assert without_added({"method": given, "seed": 0}, found) == {
        "method": {"name": "aoft", "detach_q0": True, "rank": 8},
        "seed": 0,
    }


def test_nothing_is_parsed_where_nothing_was_added(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("class (")
    assert added_options(tmp_path) == {} and without_added({"method": "text"}, {}) == {"method": "text"}
