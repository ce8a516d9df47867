-- zone --
-- Refuses what is no time zone.
SELECT now() AT TIME ZONE %(timezone)s::text AS local_time

-- zone_is_named --
-- Whether a time zone is one by name, in any case; all their files are read for it.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_timezone_names AS z WHERE lower(z.name) = lower(%(timezone)s::text)
) AS found
