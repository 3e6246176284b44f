UPDATE job SET status = 'completed', seq = seq + 1, finished_at = ?, result = 'null' WHERE number = ?
