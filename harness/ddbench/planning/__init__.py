"""The registry and the user's choices, crossed into jobs with ids."""
