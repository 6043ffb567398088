"""Evidence about digests: what is attached, whether it counts, and what we attach ourselves (design §5).

* `found`      the forms that evidence has in a registry, as values
* `finding`    registry → what is attached to a digest
* `bundles`    bytes → Sigstore bundle or DSSE envelope, bounded
* `authority`  who is believed: public keys, or a Sigstore trusted root; one of them, never both
* `keys`       the authority of public keys
* `provenance` what a SLSA provenance predicate says (pure)
* `claims`     whether a proven statement says what the policy asks for (pure)
* `verifying`  all of it as `ports.Verifier`, with its cache
"""
