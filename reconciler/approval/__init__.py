"""Who approved what: the approvers' policy, envelopes and their signatures, and the judgement of them (design §6)."""
