package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/peers"
)

// mint compares minting with the bare signature: SHA-256 and
// crypto/ecdsa.SignASN1 over the bytes that such a token has.
func (b *bench) mint() error {
	session := b.kit.Session(peers.User(7))
	raw, err := b.kit.Mint(session)
	if err != nil {
		return err
	}
	signed := []byte(raw[:strings.LastIndexByte(raw, '.')])
	bare := func() error {
		digest := sha256.Sum256(signed)
		_, err := ecdsa.SignASN1(rand.Reader, b.kit.Private, digest[:])
		return err
	}
	curfew := func() error {
		_, err := b.kit.Mint(session)
		return err
	}
	peer := func() error {
		claims := jwt.MapClaims{
			"iss": session.Issuer, "aud": session.Audience[0], "sub": session.Subject, "sid": session.ID,
			"iat": int64(session.IssuedAt), "last_refresh": int64(session.LastRefresh), "exp": int64(session.ExpiresAt),
			"epoch": int64(session.Epoch), "remember_me": session.RememberMe,
		}
		t := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
		t.Header["kid"], t.Header["typ"] = b.kit.Key.ID(), "session+jwt"
		_, err := t.SignedString(b.kit.Private)
		return err
	}
	times := func(f func() error) func() (float64, error) {
		return measure.PerOp(b.slice, func(n int) error {
			for range n {
				if err := f(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	series, err := measure.Rounds(2*b.rounds, b.round("minting"),
		measure.Case{Name: "the bare signature", Run: times(bare)},
		measure.Case{Name: "Curfew", Run: times(curfew)},
		measure.Case{Name: "golang-jwt v5", Run: times(peer)},
	)
	if err != nil {
		return err
	}
	allocs := make([]float64, 3)
	for i, f := range []func() error{bare, curfew, peer} {
		if allocs[i], err = allocations(1000, f); err != nil {
			return err
		}
	}
	b.report.atMost("mint a token (ES256), time against the bare signature", 1.15, "×", series[1].Over(series[0]))
	b.report.explain("of the difference, most is golang-jwt's turning the signature into big.Int and back, which crypto/ecdsa.SignASN1 spares")
	more := allocs[1] - allocs[0]
	b.report.enter("allocations in it, beyond those of the bare signature", "≤ 8", number(more), more <= 8, more/8)
	b.report.explain("golang-jwt goes by big integers, which takes eight of them; a method without was tried, with three in all, and not kept: there is to be no code of ours between a signature and crypto/ecdsa")
	b.costs["mint"] = series[1].Median()
	head, rows := seriesTable("ns", series, 0)
	for i := range rows {
		rows[i] = append(rows[i], number(allocs[i]))
	}
	b.report.table("Minting", "", append(head, "allocations"), rows...)
	return nil
}
