"""The status page: what the last pass saw, decided and did, to read in a browser or as JSON (docs/status-page.md).

* `access` who may read it: the bind address, and optionally an identity proxy
* `params` the parameters of an address, bounded and checked
* `site` what one repository shows, and where its log lies
* `matrix`, `heads`, `publishing`, `logbook`, `health` one kind of page each: facts and parameters in, a value out
* `views` the value as HTML or JSON, with an ETag
* `pages` which address is which page

A view of a page asks nobody outside: it shows what the last pass left in memory, and entries of the log on this disk.
"""
