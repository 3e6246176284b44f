"""Message queues that carry job IDs. The ledger itself is the default one, so there is none here yet."""
