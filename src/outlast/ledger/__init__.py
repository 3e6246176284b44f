"""Status tracking: the truth about every job, behind one small protocol."""
