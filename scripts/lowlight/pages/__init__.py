"""How a page of the project looks."""
