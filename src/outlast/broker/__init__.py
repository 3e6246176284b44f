"""Message queues that carry tickets: job IDs, by queue. The ledger is the default one."""
