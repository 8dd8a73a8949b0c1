-- last_used_at is when the session was last used (µs), as far as it was reported: see
-- package uses. 0 in the rows that an earlier version has written.

-- +goose Up
ALTER TABLE sessions ADD COLUMN last_used_at bigint NOT NULL DEFAULT 0;
