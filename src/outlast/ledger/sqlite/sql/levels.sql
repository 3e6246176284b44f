SELECT priority, at, starts FROM level WHERE queue = :queue
