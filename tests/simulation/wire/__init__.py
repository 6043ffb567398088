"""Hosts that answer in this process: what the product's own HTTP adapters talk to, without a socket."""
