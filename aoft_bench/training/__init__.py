"""Training and scoring: a `TrainingJob` (job.py) is trained by `fit` (fit.py)."""

from aoft_bench.utils.fast_imports import import_lightning

import_lightning()
