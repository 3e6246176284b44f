DELETE FROM event WHERE job = ?
