"""Methods: one file and one YAML each. `names()` lists them, `attach(model, name, ...)` applies one."""

from aoft_bench.backbones.layout import Shape
from aoft_bench.methods.base import Factors, Method
from aoft_bench.methods.handle import Handle, attach
from aoft_bench.methods.registry import build, get, method, names, names_with_factors

__all__ = [
    "Factors",
    "Handle",
    "Method",
    "Shape",
    "attach",
    "build",
    "get",
    "method",
    "names",
    "names_with_factors",
]
