"""`python -m aoft_bench ...`: the same as `aoft-bench ...`."""

import sys

from aoft_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
