INSERT INTO level (queue, priority, at, starts) VALUES (:queue, :priority, :at, :starts)
ON CONFLICT DO UPDATE SET at = excluded.at, starts = excluded.starts
