"""``python -m supernet`` is the command ``supernet``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
