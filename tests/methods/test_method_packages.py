"""Methods of installed packages, found by the entry points of the group aoft_bench.methods."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import call, words

from aoft_bench import methods
from aoft_bench.config import added_options, method_packages
from aoft_bench.config.compose import Composer
from aoft_bench.methods import registry
from aoft_bench.records.files import read_record
from aoft_bench.results.titles import Titles

MODULE = '''"""Gates from elsewhere: the biases are trained."""
from typing import ClassVar
from aoft_bench.config.fields import added
from aoft_bench.methods.registry import Method, Shape, method

@method("NAME")
class Gates(Method):
    """slope: of no use."""
    slope: float = 1.0
    offset: float = added(0.0)
    source: ClassVar[str] = "made up"

    def tunes(self, model):
        return ["*.bias"]

    def count(self, shape: Shape) -> int:
        return shape.depth * (7 * shape.width + shape.hidden) + 2 * shape.width
'''
YAML = "# @package _global_\ntitle: Gates‡\nmethod: {name: gates, slope: 1.0, offset: 0.0}\nrecipe: {lr: 1e-3}\n"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lays a package down as pip does. All that is remembered of installed packages is forgotten before and after."""
    site = tmp_path / "site"

    def forget() -> None:
        of_packages = method_packages.method_entry_points, method_packages.package_folders
        for function in (*of_packages, registry._load, added_options.added_by_methods):
            function.cache_clear()  # type: ignore[attr-defined]

    def make(name: str = "gates", module: str = "gates_bench.gates") -> None:
        conf = site / "gates_bench" / "conf"
        for folder in (conf / "method", conf / "hparams" / "gates", site / "gates_bench-1.2.dist-info"):
            folder.mkdir(parents=True)
        (site / "gates_bench" / "__init__.py").touch()
        (site / "gates_bench" / "gates.py").write_text(MODULE.replace("NAME", name), encoding="utf-8")
        (conf / "method" / "gates.yaml").write_text(YAML, encoding="utf-8")
        (conf / "hparams" / "gates" / "digits.yaml").write_text("# @package _global_\nrecipe: {weight_decay: 7}\n")
        information = site / "gates_bench-1.2.dist-info"
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: gates-bench\nVersion: 1.2\n")
        (information / "entry_points.txt").write_text(f"[aoft_bench.methods]\ngates = {module}\n")
        monkeypatch.syspath_prepend(str(site))
        forget()

    before = dict(registry._METHODS)
    yield make
    registry._METHODS.clear()
    registry._METHODS.update(before)
    monkeypatch.undo()
    forget()
    for module in ("gates_bench.gates", "gates_bench"):
        sys.modules.pop(module, None)


def test_a_method_of_a_package_is_one_of_ours(install: Install, tmp_path: Path, nano_pack: dict[str, str]) -> None:
    known = methods.names()
    install()
    assert set(methods.names()) - set(known) == {"gates"}
    assert "gates" in Composer().choices("method") and Titles().method("gates") == "Gates‡"
    tree = Composer().compose("config", ["method=gates", "dataset=digits"])
    assert (tree["method"]["slope"], tree["recipe"]["weight_decay"]) == (1.0, 7)
    result = call(*words(nano_pack, method="gates"), cwd=tmp_path)
    assert result.code == 0, result.err
    (path,) = (tmp_path / "results" / "records").rglob("*.json")
    record = read_record(path)
    assert record["versions"]["gates-bench"] == "1.2" and record["method"] == "gates"
    assert "offset" not in record["config"]["method"]
    assert "done before" in call(*words(nano_pack, method="gates"), cwd=tmp_path).out
    wrong = call(*words(nano_pack, method="gates", method__slop="1"), cwd=tmp_path)
    assert wrong.code == 2 and "unknown option of method gates 'slop' (did you mean 'slope'?)" in wrong.err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"module": "gates_bench.gone"}, r"ModuleNotFoundError: No module named 'gates_bench\.gone'"),
        (
            {"name": "lora"},
            r"ValueError: two methods are called 'lora': aoft_bench\.methods\.lora and gates_bench\.gates",
        ),
    ],
)
def test_a_package_that_cannot_be_used_is_named_in_one_line(
    install: Install, options: dict[str, str], why: str, tmp_path: Path, nano_pack: dict[str, str]
) -> None:
    install(**options)
    for _ in range(2):
        result = call(*words(nano_pack, method="linear"), cwd=tmp_path)
        assert result.code == 2 and result.err.count("\n") == 1, result.err
        assert result.err.startswith("aoft_bench: the methods of the package gates-bench cannot be used: importing ")
        assert result.err.rstrip().endswith("mend it, or remove it by pip uninstall gates-bench")
        assert re.search(why, result.err)
    assert not list(tmp_path.rglob("*.json"))
