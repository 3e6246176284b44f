SELECT e.position, j.id, e.seq, e.type, e.at, e.data
FROM job AS j JOIN event AS e ON e.job = j.number
WHERE j.id = :id AND e.seq > :after AND (:type IS NULL OR e.type = :type)
ORDER BY e.seq LIMIT :limit
