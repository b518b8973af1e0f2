"""The store of a provider: PostgreSQL, which several processes on several hosts share."""
