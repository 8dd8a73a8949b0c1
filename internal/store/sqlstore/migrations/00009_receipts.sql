-- A receipt is the record of a revocation. Its row is written with the revocation,
-- and once more when the revocation is in force everywhere: closed_at is then set,
-- and the row does not change again. users and sessions are what ended, -1 if that
-- was not counted. lapsed is a JSON array.

-- +goose Up
CREATE TABLE receipts (
	epoch        bigint NOT NULL PRIMARY KEY,
	scope        ctext  NOT NULL,
	scope_id     ctext  NOT NULL,
	user_id      ctext  NOT NULL,
	user_name    ctext  NOT NULL,
	actor_kind   ctext  NOT NULL,
	actor_id     ctext  NOT NULL,
	actor_name   ctext  NOT NULL,
	reason       ctext  NOT NULL,
	users        bigint NOT NULL,
	sessions     bigint NOT NULL,
	named        bigint NOT NULL,
	committed_at bigint NOT NULL,
	closed_at    bigint NOT NULL,
	closed_by    ctext  NOT NULL,
	validators   bigint NOT NULL,
	confirmed    bigint NOT NULL,
	lapsed       ctext  NOT NULL,
	effective_by bigint NOT NULL
);
CREATE INDEX receipts_open ON receipts (epoch) WHERE closed_at = 0;
CREATE INDEX receipts_by_commit ON receipts (committed_at);

-- lapsed has the followers whose leases ran out at a node before they confirmed.
ALTER TABLE nodes ADD COLUMN lapsed ctext NOT NULL DEFAULT '[]';
