-- The schema, for both engines. Two types: bigint for numbers and instants (µs
-- since the Unix epoch, 0 for never), ctext for text that is compared byte by
-- byte. SQLite takes ctext for TEXT, whose comparison is that by itself; for
-- PostgreSQL it is a domain over TEXT with the collation "C", made beforehand.
-- Lists are JSON arrays. Nothing is NULL.

-- +goose Up

-- The epoch clock. One row, whose lock orders all changes of shared state.
CREATE TABLE clock (
	id    bigint NOT NULL PRIMARY KEY CHECK (id = 1),
	epoch bigint NOT NULL
);
INSERT INTO clock (id, epoch) VALUES (1, 0);

CREATE TABLE installation (
	id       bigint NOT NULL PRIMARY KEY CHECK (id = 1),
	issuer   ctext  NOT NULL,
	audience ctext  NOT NULL,
	epoch    bigint NOT NULL
);

-- Durations are in seconds.
CREATE TABLE settings (
	id                       bigint NOT NULL PRIMARY KEY CHECK (id = 1),
	session_timeout          bigint NOT NULL,
	maximum_session_duration bigint NOT NULL,
	remember_me_enabled      bigint NOT NULL,
	idle_floor               bigint NOT NULL,
	idle_floor_epoch         bigint NOT NULL,
	maximum_floor            bigint NOT NULL,
	maximum_floor_epoch      bigint NOT NULL,
	longest_maximum          bigint NOT NULL,
	epoch                    bigint NOT NULL
);

CREATE TABLE signing_keys (
	id           ctext  NOT NULL PRIMARY KEY,
	algorithm    ctext  NOT NULL,
	state        ctext  NOT NULL,
	public_jwk   ctext  NOT NULL,
	sealed       ctext  NOT NULL,
	created_at   bigint NOT NULL,
	activated_at bigint NOT NULL,
	retiring_at  bigint NOT NULL,
	retire_at    bigint NOT NULL,
	retired_at   bigint NOT NULL,
	epoch        bigint NOT NULL
);

-- The epoch of the last revocation of each scope. The index holds all that a
-- page of the change feed needs.
CREATE TABLE revocations (
	kind  ctext  NOT NULL,
	id    ctext  NOT NULL,
	epoch bigint NOT NULL,
	PRIMARY KEY (kind, id)
);
CREATE INDEX revocations_by_epoch ON revocations (epoch, kind, id);

-- email_key is the email in ASCII lower case.
CREATE TABLE users (
	id              ctext  NOT NULL PRIMARY KEY,
	name            ctext  NOT NULL,
	name_key        ctext  NOT NULL,
	email           ctext  NOT NULL,
	email_key       ctext  NOT NULL,
	permissions     ctext  NOT NULL,
	administrator   bigint NOT NULL,
	disabled        bigint NOT NULL,
	password_hash   ctext  NOT NULL,
	created_at      bigint NOT NULL,
	last_sign_in_at bigint NOT NULL
);
CREATE UNIQUE INDEX users_by_name ON users (name_key);
CREATE INDEX users_by_email ON users (email_key, name_key) WHERE email_key <> '';
CREATE INDEX users_administrators ON users (disabled) WHERE administrator = 1;

-- Failed sign-ins, by account and by address. Kept for a day.
CREATE TABLE failures (
	subject ctext  NOT NULL,
	at      bigint NOT NULL,
	count   bigint NOT NULL,
	PRIMARY KEY (subject, at)
);
CREATE INDEX failures_by_time ON failures (at);

CREATE TABLE clients (
	id               ctext  NOT NULL PRIMARY KEY,
	name             ctext  NOT NULL,
	capabilities     ctext  NOT NULL,
	secret_hash      ctext  NOT NULL,
	old_secret_hash  ctext  NOT NULL,
	old_secret_until bigint NOT NULL,
	created_at       bigint NOT NULL,
	deleted          bigint NOT NULL,
	epoch            bigint NOT NULL
);

CREATE TABLE sessions (
	id           ctext  NOT NULL PRIMARY KEY,
	user_id      ctext  NOT NULL,
	remember_me  bigint NOT NULL,
	epoch        bigint NOT NULL,
	key_id       ctext  NOT NULL,
	device       ctext  NOT NULL,
	address      ctext  NOT NULL,
	began_at     bigint NOT NULL,
	last_seen_at bigint NOT NULL,
	expires_at   bigint NOT NULL,
	ended_at     bigint NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id, began_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at > 0;

CREATE TABLE audit (
	id          bigint NOT NULL PRIMARY KEY,
	at          bigint NOT NULL,
	actor_kind  ctext  NOT NULL,
	actor_id    ctext  NOT NULL,
	actor_name  ctext  NOT NULL,
	address     ctext  NOT NULL,
	request_id  ctext  NOT NULL,
	action      ctext  NOT NULL,
	target_kind ctext  NOT NULL,
	target_id   ctext  NOT NULL,
	target_name ctext  NOT NULL,
	reason      ctext  NOT NULL,
	epoch       bigint NOT NULL,
	scope       ctext  NOT NULL,
	detail      ctext  NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);
-- The beginnings of what may be long: PostgreSQL indexes no value above 2.7 kB.
CREATE INDEX audit_by_actor ON audit (substr(actor_id, 1, 64), id) WHERE actor_id <> '';
CREATE INDEX audit_by_actor_name ON audit (substr(actor_name, 1, 64), id) WHERE actor_name <> '';
CREATE INDEX audit_by_target ON audit (substr(target_id, 1, 64), id) WHERE target_id <> '';
CREATE INDEX audit_by_target_name ON audit (substr(target_name, 1, 64), id) WHERE target_name <> '';
CREATE INDEX audit_by_epoch ON audit (epoch, id) WHERE epoch > 0;

-- marked_beat and marked_epoch are what the last pruning saw: see Prune.
CREATE TABLE nodes (
	id           ctext  NOT NULL PRIMARY KEY,
	name         ctext  NOT NULL,
	version      ctext  NOT NULL,
	started_at   bigint NOT NULL,
	beat         bigint NOT NULL,
	lease_ms     bigint NOT NULL,
	view_epoch   bigint NOT NULL,
	confirmed    bigint NOT NULL,
	followers    bigint NOT NULL,
	waiting      ctext  NOT NULL,
	asks         bigint NOT NULL DEFAULT 0,
	gone         bigint NOT NULL,
	marked_beat  bigint NOT NULL,
	marked_epoch bigint NOT NULL
);
