-- +goose Up

-- What names and ids are compared by, so that none passes for another: hashes of
-- their UTS 39 skeletons. skeleton_of is the name key of which that was found to
-- be so. Rows of an earlier release lack it until the next start.
ALTER TABLE users ADD COLUMN name_skeleton ctext NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN id_skeleton ctext NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN skeleton_of ctext NOT NULL DEFAULT '';
CREATE INDEX users_by_name_skeleton ON users (name_skeleton) WHERE name_skeleton <> '';
CREATE INDEX users_by_id_skeleton ON users (id_skeleton) WHERE id_skeleton <> '';
CREATE INDEX users_unchecked ON users (id) WHERE skeleton_of <> name_key;
