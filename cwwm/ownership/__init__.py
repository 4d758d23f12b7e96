"""Keys, marks, messages, evidence, and the judgement of a claim."""
