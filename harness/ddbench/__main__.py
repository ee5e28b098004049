"""`python -m ddbench`: the command line."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the working folder, which may hold a random.py

from ddbench.cli import main

main()
