SELECT priority, at, starts FROM outlast.level WHERE queue = :queue
