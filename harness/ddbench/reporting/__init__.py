"""Results as tables, markdown and terminal output."""
