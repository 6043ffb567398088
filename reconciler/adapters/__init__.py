"""One port and one library each: the only modules that talk to the outside."""
