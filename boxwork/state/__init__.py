"""Changes facts, one transaction at a time (transactions, replication)."""
