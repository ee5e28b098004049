"""Start and set up the processes of ddbench."""
