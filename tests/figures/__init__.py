"""Every measured figure of the README and the documentation, derived again from what is committed."""
