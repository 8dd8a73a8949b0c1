-- What a user is found by besides the beginning of the name: the email address, and
-- the name from each of its later words on, folded. word is the beginning of such a
-- text. words_of tells of which name and address the rows were made; users of an
-- earlier release lack them until the next start.

-- +goose Up
CREATE TABLE user_words (
	word    ctext NOT NULL,
	user_id ctext NOT NULL,
	PRIMARY KEY (word, user_id)
);
CREATE INDEX user_words_by_user ON user_words (user_id);
ALTER TABLE users ADD COLUMN words_of ctext NOT NULL DEFAULT '';
CREATE INDEX users_without_words ON users (id) WHERE words_of <> name_key || '/' || email_key;
