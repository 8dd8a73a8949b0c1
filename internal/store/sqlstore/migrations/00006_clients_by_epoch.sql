-- Every reading of the changes asks for the last change of a client. Deleted
-- clients stay as rows, so the table may grow.

-- +goose Up
CREATE INDEX clients_by_epoch ON clients (epoch);
