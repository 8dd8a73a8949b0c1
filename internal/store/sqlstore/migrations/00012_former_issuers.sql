-- former is a JSON list of the issuers that are accepted besides the present one, each
-- until an instant: see store.FormerIssuer.

-- +goose Up
ALTER TABLE installation ADD COLUMN former ctext NOT NULL DEFAULT '[]';
