"""Message queues that carry job IDs; the ledger is the default one, and the only one yet."""
