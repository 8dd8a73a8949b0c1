-- must_change_password is 1 if the user must choose a new password at the next sign-in
-- with a password.

-- +goose Up
ALTER TABLE users ADD COLUMN must_change_password bigint NOT NULL DEFAULT 0;
