"""conf/, the embedded weights and the command aoft-bench, from a checkout, an editable install and a wheel."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import hatchling.build, sys; print(hatchling.build.build_{kind}(sys.argv[1]))"
CONF = "import aoft_bench as a; from aoft_bench.config.folders import conf_dir; print(a.__file__); print(conf_dir())"


def python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Run this Python in a folder, with `path` as PYTHONPATH; return its output."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | (
        {"PYTHONPATH": str(path)} if path else {}
    )
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(kind: str, folder: Path) -> Path:
    """A wheel of this checkout, "wheel" or "editable", by the build backend's own functions."""
    pytest.importorskip("hatchling")
    return folder / python("-c", BUILD.format(kind=kind), str(folder), cwd=ROOT).split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-compile"]
    python(*pip, "--target", str(target), str(wheel), cwd=target)
    return target


@pytest.mark.slow
def test_the_wheel_holds_what_a_run_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"aoft_bench/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in names
    for path in (ROOT / "sweeps").glob("*.yaml"):
        assert f"aoft_bench/sweeps/{path.name}" in names
    for path in (ROOT / "aoft_bench").rglob("*.py"):
        assert path.relative_to(ROOT).as_posix() in names
    weights = zipfile.ZipFile(wheel).getinfo("aoft_bench/backbones/vit_nano.safetensors")
    assert 1e6 < weights.file_size <= 6e6
    ours = ("aoft_bench", "hydra_plugins/aoft_bench_launchers")
    strangers = {name for name in names if not name.startswith(ours)}
    assert not strangers, "tests and tools are not installed"


def test_checkout() -> None:
    assert python("-c", CONF, cwd=ROOT).split() == [str(ROOT / "aoft_bench" / "__init__.py"), str(ROOT / "conf")]


@pytest.mark.slow
def test_installed_wheel(installed: Path, tmp_path: Path) -> None:
    package = installed / "aoft_bench"
    assert python("-c", CONF, cwd=tmp_path, path=installed).split() == [
        str(package / "__init__.py"),
        str(package / "conf"),
    ]
    assert "cifar100" in python(str(installed / "bin" / "aoft-bench"), "list", "datasets", cwd=tmp_path, path=installed)
    words = ["backbone=vit_nano", "dataset=digits", "method=lora", "trainer=cpu", "dry_run=true"]
    table = python("-m", "aoft_bench", *words, cwd=tmp_path, path=installed)
    assert "lora on vit_nano, 10 classes" in table and " 24,576 " in table
    assert not list(tmp_path.iterdir())
    demo = python("-m", "aoft_bench", "-cd", "sweeps", "-cn", "demo", "dry_run=true", cwd=tmp_path, path=installed)
    assert "aoft on vit_nano, 10 classes" in demo and "full on vit_nano, 10 classes" in demo


def test_editable_install(tmp_path: Path) -> None:
    """The wheel of an editable install holds a .pth file that leads to the checkout, and the command."""
    pytest.importorskip("editables")
    site = tmp_path / "site"
    with zipfile.ZipFile(build("editable", tmp_path)) as wheel:
        wheel.extractall(site)
    assert not (site / "aoft_bench" / "__init__.py").exists()
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    assert "aoft-bench = aoft_bench.cli:main" in entry_points.read_text()
    # what the wheel adds goes first, before another checkout that this Python may have installed
    add = f"import site, sys; before = [*sys.path]; site.addsitedir({str(site)!r})"
    program = f"{add}; sys.path.sort(key=lambda path: path in before); {CONF}"
    found = python("-c", program, cwd=tmp_path).split()
    assert found == [str(ROOT / "aoft_bench" / "__init__.py"), str(ROOT / "conf")]


# package: releases that must not be installed, and the advisory
KNOWN_BAD = {
    "pytorch-lightning": ("2.6.2", "2.6.3"),  # compromised, they steal credentials: GHSA-w37p-236h-pfx3
    "lightning": ("2.6.2", "2.6.3"),  # the same
    "torch": ("2.5.1", "2.9.1"),  # .pth files run code in spite of weights_only: GHSA-53q9-r3pm-6pq6, -63cw-57p8-fm3p
}


def test_releases_that_are_known_to_be_bad_cannot_be_installed() -> None:
    """pyproject.toml excludes them, and constraints.txt names none."""
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    asked = re.findall(r'^\s*"([a-z][\w.-]*(?:\[\w+\])?[<>=!~][^"]*)"', pyproject, re.MULTILINE)
    constrained = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    requirements = [Requirement(line) for line in asked]
    pinned = [Requirement(line.partition("#")[0]) for line in constrained if line.partition("#")[0].strip()]
    assert {"torch", "pytorch-lightning"} <= {r.name for r in requirements} & {r.name for r in pinned}
    for requirement in (*requirements, *pinned):
        for version in KNOWN_BAD.get(requirement.name, ()):
            assert not requirement.specifier.contains(version), f"{requirement} can be {version}"
    for pin in pinned:  # what is tested is what is asked for
        (version,) = [str(s.version) for s in pin.specifier]
        assert all(r.specifier.contains(version) for r in requirements if r.name == pin.name), pin
