"""ddbench."""
