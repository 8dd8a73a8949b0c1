package httpapi

import (
	"net/http"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

// listKeys is GET /v1/keys.
func listKeys(c *call) error {
	keys, err := c.Ring.List(c.ctx, c.caller)
	if err != nil {
		return err
	}
	answer := wire.Keys{Keys: make([]wire.Key, len(keys))}
	for i, k := range keys {
		answer.Keys[i] = wireform.Key(k)
	}
	return c.json(http.StatusOK, answer)
}

// rotateKey is POST /v1/keys/rotations.
func rotateKey(c *call) error {
	var body wire.RotateKey
	if err := decode(c.r, &body, true); err != nil {
		return err
	}
	if err := account.CheckReason(body.Reason); err != nil {
		return err
	}
	key, from, err := c.Ring.Rotate(c.ctx, c.caller, body.Kid, body.Reason)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, wire.Rotation{Key: wireform.Key(key), SignsFrom: from.UTC()})
}

// retireKey is DELETE /v1/keys/{kid}.
func retireKey(c *call) error {
	reason := c.query.Get("reason")
	if err := account.CheckReason(reason); err != nil {
		return err
	}
	kid := c.r.PathValue("kid")
	epoch, err := c.Ring.Retire(c.ctx, c.caller, kid, reason)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, wire.RetiredKey{ID: kid, Epoch: int64(epoch)})
}
