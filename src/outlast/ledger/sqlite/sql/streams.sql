-- The levels and tasks that have lines, highest priority first, by as many steps down the index.
WITH RECURSIVE stream (priority, task) AS (
  SELECT * FROM (SELECT priority, task FROM line WHERE queue = :queue ORDER BY priority DESC, task LIMIT 1)
  UNION ALL
  SELECT
    coalesce(
      (SELECT priority FROM line WHERE queue = :queue AND priority = stream.priority AND task > stream.task LIMIT 1),
      (SELECT priority FROM line WHERE queue = :queue AND priority < stream.priority ORDER BY priority DESC LIMIT 1)),
    coalesce(
      (SELECT task FROM line WHERE queue = :queue AND priority = stream.priority AND task > stream.task
       ORDER BY task LIMIT 1),
      (SELECT task FROM line WHERE queue = :queue AND priority < stream.priority ORDER BY priority DESC, task LIMIT 1))
  FROM stream WHERE stream.priority IS NOT NULL)
SELECT priority, task FROM stream WHERE priority IS NOT NULL
