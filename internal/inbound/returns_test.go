package inbound_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"example.com/curfew/internal/inbound"
)

// Each host is warned of once, and a client that names many fills neither memory nor log.
func TestUnknownReturns(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	returns := &inbound.UnknownReturns{}
	for _, tt := range []struct{ hosts, want int }{{1, 1}, {15, 15}, {16, 16}, {17, 16}, {1000, 16}} {
		for range 2 {
			for i := range tt.hosts {
				returns.Note(t.Context(), fmt.Sprintf("app%d.example", i), logger)
			}
		}
		if got, warned := len(returns.Hosts()), strings.Count(log.String(), "--return-hosts;"); got != tt.want || warned != tt.want {
			t.Errorf("%d hosts: %d kept, %d warnings, want %d", tt.hosts, got, warned, tt.want)
		}
	}
	(*inbound.UnknownReturns)(nil).Note(t.Context(), "app.example", logger)
}
