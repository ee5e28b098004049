"""`python -m ddbench.cli`."""

from ddbench.cli import main

main()
