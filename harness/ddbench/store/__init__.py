"""Files that appear whole or not at all, and the run folder made of them."""
