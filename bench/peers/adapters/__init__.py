"""One file a queue: its tasks, its settings, how it is given jobs, and how its worker starts."""
