"""What is true and what was done: value types, decisions, plans and the log. Never imports `reconciler`."""
