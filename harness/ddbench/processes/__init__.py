"""Processes of ddbench: how they are started, and what they owe to the one that started them."""
