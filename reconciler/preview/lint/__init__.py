"""The rules that a preview lane has to keep, and the checks that find where it does not."""
