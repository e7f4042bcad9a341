"""Training and scoring of one cell."""

from aoft_bench.lean import import_lightning

import_lightning()
