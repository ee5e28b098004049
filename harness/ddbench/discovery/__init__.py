"""Installed methods and extensions, asked what the planner must know."""
