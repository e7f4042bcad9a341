"""Methods: one file and one YAML each. `names()` lists them, `attach(model, name, ...)` applies one."""

from aoft_bench.methods.handle import Handle, attach, prepare
from aoft_bench.methods.registry import Method, Shape, build, get, names, names_with_factors

__all__ = ["Handle", "Method", "Shape", "attach", "build", "get", "names", "names_with_factors", "prepare"]
