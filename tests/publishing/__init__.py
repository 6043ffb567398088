"""The publishing of a pass under every crash and race: the product's own code over an outside in memory."""
