"""Text for people: short lines, numbers, suggestions, labels, the standard streams."""
