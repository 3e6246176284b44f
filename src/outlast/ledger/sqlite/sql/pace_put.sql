INSERT INTO pace (subject, due, at) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET due = excluded.due, at = excluded.at
