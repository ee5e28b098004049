"""How a plan is run: engines, one job, its clock and its checkpoints."""
