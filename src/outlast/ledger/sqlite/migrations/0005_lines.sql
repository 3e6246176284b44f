-- A line: the waiting jobs of a queue that have priority, tenant, key and task in common, so that the
-- same limits hold for all of them, and only its first one is ever looked at. Every waiting job has its
-- line; a line that nobody waits in any more is removed by the next claim that meets it.
CREATE TABLE line (
  queue TEXT NOT NULL,
  priority INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  key TEXT NOT NULL, -- the concurrency key; empty: none
  task TEXT NOT NULL,
  pass INTEGER NOT NULL DEFAULT 0, -- its lane's turn; 0: not later than the level's
  head INTEGER NOT NULL, -- no job of it has a smaller number
  PRIMARY KEY (queue, priority, tenant, key, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX line_turn ON line (queue, priority DESC, task, pass, head);

-- A level: one priority of a queue. `at` is the turn it has come to, `starts` how many jobs it gave
-- out while another level had some as well.
CREATE TABLE level (
  queue TEXT NOT NULL,
  priority INTEGER NOT NULL,
  at INTEGER NOT NULL,
  starts INTEGER NOT NULL,
  PRIMARY KEY (queue, priority)
) STRICT, WITHOUT ROWID;

-- Of each subject with a rate: when its next start would be due, and when the last one was.
CREATE TABLE pace (
  subject TEXT NOT NULL PRIMARY KEY,
  due INTEGER NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

DROP INDEX job_claim;
-- Has all that finding the next job of a line asks for: jobs of many lines lie on as many pages.
CREATE INDEX job_line ON job (queue, priority DESC, tenant, concurrency_key, task, number, expires_at)
WHERE status = 'pending';
-- Counts what runs by all that limits may be on, without a look at a row.
DROP INDEX job_held;
CREATE INDEX job_held ON job (holder, queue, task, tenant, concurrency_key) WHERE status = 'processing';

INSERT INTO line (queue, priority, tenant, key, task, head)
SELECT queue, priority, tenant, coalesce(concurrency_key, ''), task, min(number)
FROM job WHERE status = 'pending' GROUP BY 1, 2, 3, 4, 5;

-- A new job that waits joins its line; a new line of a lane takes the lane's turn. One that comes back
-- joins by `line_join.sql`: a trigger on updates would cost every claim and every completion.
CREATE TRIGGER job_new AFTER INSERT ON job WHEN NEW.status = 'pending' BEGIN
  INSERT INTO line (queue, priority, tenant, key, task, pass, head)
  VALUES (NEW.queue, NEW.priority, NEW.tenant, coalesce(NEW.concurrency_key, ''), NEW.task,
    coalesce((SELECT pass FROM line WHERE queue = NEW.queue AND priority = NEW.priority
              AND tenant = NEW.tenant AND key = coalesce(NEW.concurrency_key, '') LIMIT 1), 0), NEW.number)
  ON CONFLICT DO UPDATE SET head = excluded.head WHERE excluded.head < head;
END;
