"""Says whether an output folder is to be believed: forms, digests, tables, and cells run again."""
