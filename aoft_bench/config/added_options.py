"""Options of methods that are declared with `added`, read from the source: the classes themselves import torch."""

import ast
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aoft_bench.config.method_packages import package_folders


def added_options(*folders: Path) -> dict[str, dict[str, Any]]:
    """Method name -> the options of its class and of its base classes that `added` gives a default, and that default.

    folders: hold the files of methods. Methods without such options are left out.
    """
    texts = [path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py")]
    if not any("added(" in text for text in texts):
        return {}
    classes = {node.name: node for text in texts for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    found = {_method_name(node): _added(node, classes) for node in classes.values() if _method_name(node)}
    return {name: options for name, options in found.items() if options}


@functools.cache
def added_by_methods() -> dict[str, dict[str, Any]]:
    """`added_options` of all methods, those of installed packages too. Their files are read once a process, as an
    import reads them."""
    return added_options(Path(__file__).parents[1] / "methods", *package_folders())


def without_added(tree: Mapping[str, Any], added: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A configuration whose method lacks options that were added later and are at their default."""
    method = tree.get("method")
    if not isinstance(method, Mapping):  # refused by `schema.from_dict`
        return dict(tree)
    defaults = added.get(str(method.get("name")), {})
    left = {name: value for name, value in method.items() if name not in defaults or defaults[name] != value}
    return {**tree, "method": left}


def _method_name(node: ast.ClassDef) -> str:
    """The name in the decorator ``@method("name")`` of a class, or ''."""
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "method":
            return str(ast.literal_eval(call.args[0]))
    return ""


def _added(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> dict[str, Any]:
    """Option -> default of a class and of those of its base classes that are among `classes`. A class that declares an
    option again says anew whether it was added."""
    found: dict[str, Any] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            found |= _added(classes[base.id], classes)
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            found.pop(field.target.id, None)
            if _is_added(field.value):
                found[field.target.id] = ast.literal_eval(field.value.args[0])  # type: ignore[union-attr]
    return found


def _is_added(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "added"
