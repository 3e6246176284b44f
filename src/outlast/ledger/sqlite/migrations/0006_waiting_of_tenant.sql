-- Counts what waits of a tenant; jobs of nobody's, and those that have started, cost nothing here.
CREATE INDEX job_of_tenant ON job (tenant, status)
WHERE tenant <> '' AND status IN ('pending', 'scheduled');
