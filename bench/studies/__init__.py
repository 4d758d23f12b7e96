"""Studies that stand beside the suites: each a module that measures one question and writes one table."""
