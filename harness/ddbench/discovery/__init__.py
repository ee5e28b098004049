"""Find installed methods and extensions, and ask them what the planner must know."""
