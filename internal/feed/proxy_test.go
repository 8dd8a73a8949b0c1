package feed_test

import (
	"testing"
	"time"

	"example.com/curfew/internal/testnet"
)

// proxy is a TCP proxy in front of a URL.
type proxy struct {
	*testnet.Proxy
	url   string
	mode  testnet.Mode
	delay time.Duration
}

// The modes of a proxy.
var (
	pass      = testnet.Pass
	blackHole = testnet.BlackHole
	halfOpen  = testnet.HalfOpen
	refuse    = testnet.Mode{Refuse: true} // and every open connection is reset
)

// newProxy starts a proxy in front of a URL.
func newProxy(tb testing.TB, target string) *proxy {
	tb.Helper()
	p, err := testnet.NewProxy(target[len("http://"):])
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return &proxy{Proxy: p, url: "http://" + p.Addr()}
}

func (p *proxy) set(mode testnet.Mode) {
	p.mode = mode
	mode.Delay = p.delay
	p.Set(mode)
	if mode.Refuse {
		p.Reset()
	}
}

func (p *proxy) setDelay(d time.Duration) {
	p.delay = d
	p.set(p.mode)
}
