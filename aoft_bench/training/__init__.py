"""Training and scoring of one cell."""

from aoft_bench.utils.fast_imports import import_lightning

import_lightning()
