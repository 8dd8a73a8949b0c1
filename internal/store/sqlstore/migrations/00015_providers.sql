-- Sign-in with OpenID Connect providers. Lists and maps are JSON. Texts of a provider
-- are compared byte by byte.

-- +goose Up

-- sealed_secret is the client secret, sealed with the key-encryption key.
CREATE TABLE providers (
	name                  ctext  NOT NULL PRIMARY KEY,
	issuer                ctext  NOT NULL,
	client_id             ctext  NOT NULL,
	sealed_secret         ctext  NOT NULL,
	scopes                ctext  NOT NULL,
	name_claim            ctext  NOT NULL,
	groups_claim          ctext  NOT NULL,
	group_permissions     ctext  NOT NULL,
	create_users          bigint NOT NULL,
	allowed_email_domains ctext  NOT NULL,
	allowed_groups        ctext  NOT NULL,
	acr_values            ctext  NOT NULL,
	link_by_email         bigint NOT NULL,
	created_at            bigint NOT NULL,
	updated_at            bigint NOT NULL
);

-- The account of a user at a provider, and the user here that it signs in. provider is
-- the name of the provider that it was linked through.
CREATE TABLE identities (
	issuer          ctext  NOT NULL,
	subject         ctext  NOT NULL,
	user_id         ctext  NOT NULL,
	provider        ctext  NOT NULL,
	linked_at       bigint NOT NULL,
	last_sign_in_at bigint NOT NULL,
	PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_by_user ON identities (user_id);

-- The sessions that began with a sign-in at a provider. sid is the provider's own id
-- of its session, and sealed_id_token the ID token; each is '' if there is none.
CREATE TABLE provider_sessions (
	session_id      ctext NOT NULL PRIMARY KEY,
	provider        ctext NOT NULL,
	issuer          ctext NOT NULL,
	subject         ctext NOT NULL,
	sid             ctext NOT NULL,
	sealed_id_token ctext NOT NULL
);
CREATE INDEX provider_sessions_by_provider ON provider_sessions (provider);
CREATE INDEX provider_sessions_by_sid ON provider_sessions (issuer, sid) WHERE sid <> '';
CREATE INDEX provider_sessions_by_subject ON provider_sessions (issuer, subject);

-- What providers ended lately: one of their sessions (subject is ''), or all of a
-- user's (sid is ''). Kept for an hour, for sign-ins that were under way. ended_at is
-- an epoch.
CREATE TABLE ended_provider_sessions (
	issuer   ctext  NOT NULL,
	sid      ctext  NOT NULL,
	subject  ctext  NOT NULL,
	ended_at bigint NOT NULL,
	PRIMARY KEY (issuer, sid, subject)
);

-- The logout tokens of the last hour, each of which counts once.
CREATE TABLE logout_tokens (
	issuer  ctext  NOT NULL,
	jti     ctext  NOT NULL,
	seen_at bigint NOT NULL,
	PRIMARY KEY (issuer, jti)
);

-- Without a row, everything is allowed.
CREATE TABLE sign_in_methods (
	id        bigint NOT NULL PRIMARY KEY CHECK (id = 1),
	passwords bigint NOT NULL
);
