-- member_of has the names of the user's groups.

-- +goose Up
ALTER TABLE users ADD COLUMN member_of ctext NOT NULL DEFAULT '[]';
