"""Message queues: they carry job IDs, and every one of them is only a hint."""
