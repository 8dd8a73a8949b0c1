-- Failed sign-ins in a row, without a successful one between them, by account and
-- where they came from.

-- +goose Up

CREATE TABLE streaks (
	subject ctext  NOT NULL PRIMARY KEY,
	count   bigint NOT NULL,
	last_at bigint NOT NULL
);
CREATE INDEX streaks_by_time ON streaks (last_at);
