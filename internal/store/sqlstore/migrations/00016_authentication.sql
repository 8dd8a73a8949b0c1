-- How the user of a session authenticated: the instant (µs, 0 if unknown), the
-- authentication context class ('' if unknown), and the instant at which the session
-- ends at the latest (µs, 0 for no such limit).

-- +goose Up
ALTER TABLE sessions ADD COLUMN authenticated_at bigint NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN acr ctext NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN session_expiry bigint NOT NULL DEFAULT 0;
