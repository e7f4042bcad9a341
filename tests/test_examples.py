"""The notebooks of examples/ run from start to end."""

import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def cells(name: str) -> str:
    """The code of a notebook."""
    notebook = json.loads((ROOT / "examples" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return "\n\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")


@pytest.mark.slow
def test_adapt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    five, one = "epochs, size = 1e-2, 5e-3, 5, 32", "epochs, size = 1e-2, 5e-3, 1, 32"
    code = cells("adapt")
    assert five in code
    scope: dict[str, object] = {}
    exec(code.replace(five, one), scope)
    *_, merged, equal = capsys.readouterr().out.splitlines()
    before, after = (float(part.split("%")[0]) for part in merged.replace("before, ", "").split(" after")[0].split(" "))
    assert before == after > 60 and equal == "True"
    assert (tmp_path / "what_was_trained.pt").stat().st_size < (tmp_path / "merged.pt").stat().st_size / 10


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "results/shipped/records").is_dir(), reason="a source distribution has no results")
def test_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    os.symlink(ROOT / "results", tmp_path / "results")
    scope: dict[str, object] = {}
    exec(cells("results"), scope)
    assert (tmp_path / "seeds.png").stat().st_size > 5_000
    table = scope["table"]
    assert table.shape == (13, 4) and table.notna().all(axis=None)  # type: ignore[attr-defined]
    sys.modules["matplotlib.pyplot"].close("all")
