-- The list of what was applied, before there is anything else.
CREATE SCHEMA IF NOT EXISTS outlast;
CREATE TABLE IF NOT EXISTS outlast.migration (
  number integer PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT now()
)
