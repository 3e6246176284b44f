INSERT INTO event (job, seq, type, at, data) VALUES (?, ?, ?, ?, ?)
