"""Combine the registry and the user's choices into jobs with ids."""
