"""The HTTP host: a private listener for operators and probes, a public one for the outside, one WSGI app each."""
