-- How many resources of each kind an organization has, deleted ones aside: a list without a filter tells it, and must
-- not count a million rows for that. Kept by triggers, so that no statement can forget it; the full check counts anew.

CREATE TABLE tally (
    kind TEXT NOT NULL,
    organization TEXT NOT NULL,
    total INTEGER NOT NULL CHECK (total >= 0),
    PRIMARY KEY (kind, organization)
) STRICT, WITHOUT ROWID;

INSERT INTO tally (kind, organization, total)
SELECT kind, organization, count(*) FROM resource WHERE deleted = 0 GROUP BY kind, organization;

CREATE TRIGGER tally_created AFTER INSERT ON resource WHEN NEW.deleted = 0 BEGIN
    INSERT INTO tally (kind, organization, total) VALUES (NEW.kind, NEW.organization, 1)
    ON CONFLICT (kind, organization) DO UPDATE SET total = total + 1;
END;

CREATE TRIGGER tally_revived AFTER UPDATE OF deleted ON resource WHEN OLD.deleted > NEW.deleted BEGIN
    INSERT INTO tally (kind, organization, total) VALUES (NEW.kind, NEW.organization, 1)
    ON CONFLICT (kind, organization) DO UPDATE SET total = total + 1;
END;

CREATE TRIGGER tally_deleted AFTER UPDATE OF deleted ON resource WHEN OLD.deleted < NEW.deleted BEGIN
    UPDATE tally SET total = total - 1 WHERE kind = NEW.kind AND organization = NEW.organization;
END;

CREATE TRIGGER tally_removed AFTER DELETE ON resource WHEN OLD.deleted = 0 BEGIN
    UPDATE tally SET total = total - 1 WHERE kind = OLD.kind AND organization = OLD.organization;
END;
