"""`python -m aoft_bench`: see `aoft_bench.door`."""

import sys

from aoft_bench.door import main

if __name__ == "__main__":
    sys.exit(main())
