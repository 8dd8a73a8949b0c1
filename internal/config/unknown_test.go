package config_test

import (
	"testing"

	"example.com/curfew/internal/config"
)

func TestUnknownVariables(t *testing.T) {
	for variable, want := range map[string]*config.Unknown{
		"CURFEW_LISTEN=x":                      nil,
		"CURFEW_CLIENT_SECRET_FILE=x":          nil,
		"CURFEW_ADMIN_PASSWORD=x":              nil,
		"CURFEW_OTHER=x":                       nil, // see below
		"CURFEWS=x":                            nil,
		"PATH=x":                               nil,
		"CURFEW_LISTN=x":                       {Name: "CURFEW_LISTN", Nearest: "CURFEW_LISTEN"},
		"CURFEW_TRUSTED_PROXY=x":               {Name: "CURFEW_TRUSTED_PROXY", Nearest: "CURFEW_TRUSTED_PROXIES"},
		"CURFEW_ISSUER_FILE=x":                 {Name: "CURFEW_ISSUER_FILE", Nearest: "CURFEW_ISSUER"},
		"CURFEW_KEY_ENCRPYTION_KEY=x":          {Name: "CURFEW_KEY_ENCRPYTION_KEY", Nearest: "CURFEW_KEY_ENCRYPTION_KEY"},
		"CURFEW_COLOUR_OF_THE_CONSOLE=blue":    {Name: "CURFEW_COLOUR_OF_THE_CONSOLE"},
		"CURFEW_SERVICE_HOST=10.0.0.1":         nil,
		"CURFEW_SERVICE_PORT_HTTP=80":          nil,
		"CURFEW_PORT=tcp://10.0.0.1:80":        nil,
		"CURFEW_PORT_8420_TCP_ADDR=10.0.0.1":   nil,
		"CURFEW_PG_PORT_5432_TCP=tcp://…:5432": nil,
		"CURFEW_PORT_8420=8420":                {Name: "CURFEW_PORT_8420"},
	} {
		got := config.UnknownVariables([]string{"HOME=/", variable}, "CURFEW_OTHER")
		switch {
		case want == nil && len(got) == 0:
		case want != nil && len(got) == 1 && got[0] == *want:
		default:
			t.Errorf("%s: %v, want %v", variable, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"backup", "keys", "many-nodes", "metrics"}
	for typed, want := range map[string]string{
		"metric": "metrics", "mertics": "metrics", "manynodes": "many-nodes", "key": "keys", "kyes": "keys",
		"backup": "backup", "": "", "zzz": "", "restore": "",
	} {
		if got := config.Nearest(typed, words); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}
