-- Unique keys, too, stand in their table only for the numbers below `head.settled`: a resource has them in `held`, and
-- the writer knows those of the tail. Ledgers from before have keys of the tail in the table; a start settles it, and
-- writes them there again.
DELETE FROM unique_key WHERE number >= (SELECT settled FROM head);
