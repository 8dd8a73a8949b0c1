package token

import "context"

// What the tests from outside need of the inside.

const LatestDate = latestDate

// Parsed is what the parser makes of a token, before anything is proven.
type Parsed struct {
	KeyID, Algorithm, Signed string
	Signature                []byte
	Session                  Session
}

// Parse reads a token by the rules of form, header and claims.
func Parse(raw string) (Parsed, error) {
	p, err := parse(raw)
	if err != nil {
		return Parsed{}, err
	}
	return Parsed{p.kid, p.alg, p.signed, p.signature, p.session}, nil
}

// Ending is servertoken.Ending.
func (v *Validator) Ending(ctx context.Context, raw string) (*Session, error) {
	return v.ending(ctx, raw)
}

// ValidateRemembered is servertoken.Remembered.
func (v *Validator) ValidateRemembered(ctx context.Context, raw string) *Session {
	return v.validateRemembered(ctx, raw)
}

// WriteClaims returns the payload that Mint signs.
func WriteClaims(s Session) ([]byte, error) { return appendClaims(nil, &s) }

// WriteHeader returns the header that Mint signs.
func WriteHeader(k *Key) []byte { return appendHeader(nil, k) }

// OccupySignatureSlots takes every slot for signature checks until it is released.
func (v *Validator) OccupySignatureSlots() (release func()) {
	for range cap(v.checking) {
		v.checking <- struct{}{}
	}
	return func() {
		for range cap(v.checking) {
			<-v.checking
		}
	}
}

// SignatureSlots returns how many signatures are checked at a time.
func (v *Validator) SignatureSlots() int { return cap(v.checking) }

// Remembered returns how many bytes the remembered tokens take.
func (v *Validator) Remembered() int {
	bytes := 0
	for i := range v.seen.shards {
		sh := &v.seen.shards[i]
		sh.mu.Lock()
		bytes += sh.bytes
		sh.mu.Unlock()
	}
	return bytes
}

// IsRemembered reports whether an entry for the token header+rest is taken for raw.
func IsRemembered(header, rest, raw string) bool {
	return (&entry{header: header, rest: rest}).is(raw)
}

// Watched returns the number of watches that are registered.
func Watched(v *Validator) int { return int(v.watches.count.Load()) }

// Look is what the goroutine that serves the watches does ten times a second.
func Look(v *Validator) { v.watches.look() }
