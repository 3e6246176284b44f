"""The same job by other queues, in the same run: each in an environment of its own."""
