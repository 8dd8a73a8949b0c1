package app

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Durations in the log have their unit, in both formats.
func TestLoggedDurations(t *testing.T) {
	for format, want := range map[string]string{"json": `"left":"1m0s"`, "text": "left=1m0s"} {
		var b strings.Builder
		NewLogger(&b, format, slog.LevelInfo).Info("waiting", "left", time.Minute)
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: %s lacks %s", format, b.String(), want)
		}
		if format == "json" && !json.Valid([]byte(b.String())) {
			t.Errorf("not JSON: %s", b.String())
		}
	}
}
