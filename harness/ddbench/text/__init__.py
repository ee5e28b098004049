"""Text for people: one line, suggestions, labels, the standard streams."""
