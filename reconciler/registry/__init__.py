"""The embedded OCI registry: distribution-spec v1.1.1 over HTTP, one OCI image layout per repository on disk.

* `server`: waitress, the credentials and a clean stop; `app`: routes and error answers; `manifest_routes` and
  `blob_routes`: the end points.
* `storage`: the directory tree; `layout`: one repository; `commits`: group commit; `disk`: what makes writes durable.
"""
