-- The ids of deleted users, which are never given again: tokens and audit entries
-- elsewhere still have them. id_skeleton is what ids and names are compared by.

-- +goose Up
CREATE TABLE deleted_users (
	id          ctext  NOT NULL PRIMARY KEY,
	id_skeleton ctext  NOT NULL,
	deleted_at  bigint NOT NULL
);
CREATE INDEX deleted_users_by_skeleton ON deleted_users (id_skeleton);
