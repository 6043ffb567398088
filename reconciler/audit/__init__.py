"""What an auditor asks of a log: which entries, whether its plans come out again, what led to what, what if."""
