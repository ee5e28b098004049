"""`python -m ddbench`: the command line."""

from ddbench.cli import main

main()
