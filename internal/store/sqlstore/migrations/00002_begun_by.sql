-- +goose Up

-- The kind of actor that began a session: user, client or cli. A session whose row
-- does not say so, since an earlier release has written it, carries no permission.
ALTER TABLE sessions ADD COLUMN begun_by ctext NOT NULL DEFAULT '';
