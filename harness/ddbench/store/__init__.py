"""Atomic file writes, and the run folder."""
