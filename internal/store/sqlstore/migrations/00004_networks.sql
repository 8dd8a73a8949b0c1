-- network is the address prefix that a session began from (store.Network); rows
-- from before have '' and are compared by their address.

-- +goose Up

ALTER TABLE sessions ADD COLUMN network ctext NOT NULL DEFAULT '';
CREATE INDEX sessions_by_network ON sessions (user_id, network, began_at);

-- The sessions of a user that may be live, for the bound on their number.
CREATE INDEX sessions_open ON sessions (user_id, epoch, expires_at) WHERE ended_at = 0;
