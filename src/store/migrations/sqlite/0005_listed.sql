-- Nearly everybody is a user: listing all of them, whatever the organization, walks the resources themselves. The other
-- kinds keep an index of their own, which the create of a person does not touch.
DROP INDEX resource_listed_everywhere;
CREATE INDEX resource_listed_everywhere ON resource (kind) WHERE deleted = 0 AND kind <> 'user';
