"""The simulator: the real loops in one thread, on virtual time, with every choice from a seed."""
