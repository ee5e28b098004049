"""Text for people: one line, numbers, suggestions, labels, the standard streams."""
