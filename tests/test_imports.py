"""Imports go downwards only: no package imports one beside it or above it, inside functions neither."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "aoft_bench"

# from the lowest; packages of one line do not import each other
LAYERS = (
    ("utils",),
    ("config",),
    ("records",),
    ("data", "backbones"),
    ("methods",),
    ("training",),
    ("experiments",),
    ("results",),
    ("report", "figures", "tuning"),
    ("analysis", "export"),  # analysis draws with what `figures` draws with
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports_of(path: Path) -> set[str]:
    """The modules of this package that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide where a module is"
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            others = {alias.name for alias in node.names if f"{node.module}.{alias.name}" not in MODULES}
            found |= inside | ({str(node.module)} if others else set())
    return {name for name in found if name.partition(".")[0] == "aoft_bench"}


def package_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def test_every_package_has_its_layer() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == LEVEL.keys()
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == {"__init__.py", "__main__.py", "py.typed"}


@pytest.mark.parametrize("package", LEVEL)
def test_imports_go_downwards(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        if package_of(module_of(path)) == package
        for name in sorted(imports_of(path))
        if name != "aoft_bench" and package_of(name) != package and LEVEL[package_of(name)] >= LEVEL[package]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_by_way_of_others() -> None:
    edges = {name: {other for other in imports_of(path) if other in MODULES} for name, path in MODULES.items()}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in sorted(edges[name]):
                walk(other, (*way, name))
            done.add(name)

    for name in edges:
        walk(name, ())


def test_no_two_packages_have_a_class_of_the_same_name() -> None:
    packages: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                packages.setdefault(node.name, set()).add(package_of(name))
    assert {name: found for name, found in packages.items() if len(found) > 1} == {}
