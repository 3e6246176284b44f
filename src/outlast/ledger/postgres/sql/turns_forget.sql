-- A turn that the level has come to is like that of a lane which was never served; where nobody shares,
-- none is kept.
DELETE FROM outlast.turn WHERE queue = :queue AND NOT EXISTS (
  SELECT FROM unnest(:priorities::integer[], :ats::bigint[]) AS level (priority, at)
  WHERE level.priority = turn.priority AND turn.pass > level.at)
