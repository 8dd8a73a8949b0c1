package hostile

import (
	"fmt"
	"strings"

	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// types are missing claims, claims of the wrong JSON type, and names in another
// letter case, which encoding/json would accept.
func (f *forge) types() {
	bad := func(claims members, name string, args ...any) {
		f.add(token.ErrMalformed, f.withClaims(claims.String()), "claim: "+name, args...)
	}
	const good = "…" // placeholder for the valid value
	wrong := map[string][]string{
		"iss":         {"null", "0", "true", "{}", "[]", "[…]"},
		"aud":         {"null", "0", "true", "{}", "[0]", "[null]", "[[…]]", "[…,0]", "{\"0\":…}"},
		"sub":         {"null", "0", "true", "{}", "[]", "[…]"},
		"sid":         {"null", "0", "true", "{}", "[]", "[…]"},
		"remember_me": {"null", "0", "1", `""`, `"true"`, `"false"`, "{}", "[]", "[…]"},
	}
	for _, m := range f.claims {
		bad(f.claims.without(m.name), "%s is missing", m.name)
		upper := strings.ToUpper(m.name)
		bad(f.claims.renamed(m.name, upper), "%s for %s", upper, m.name)
		for _, value := range wrong[m.name] {
			bad(f.claims.with(m.name, strings.ReplaceAll(value, good, m.value)), "%s is %s", m.name, value)
		}
	}
	bad(f.claims.renamed("sub", "Sub"), "Sub for sub")
	bad(f.claims.renamed("sub", "ſub"), "a long s in sub")
	bad(f.claims.renamed("sid", "ſid"), "a long s in sid")
	bad(f.claims.renamed("iss", "isſ"), "a long s in iss")
	bad(f.claims.renamed("exp", "exp "), "a space behind exp")
	bad(f.claims.renamed("exp", "expires_at"), "expires_at for exp")
	bad(f.claims.renamed("remember_me", "rememberMe"), "rememberMe for remember_me")
	bad(f.claims.renamed("last_refresh", "lastRefresh"), "lastRefresh for last_refresh")
	bad(members{{"session", f.claims.String()}}, "all of them one level down")
	for name, values := range map[string][]string{
		"name":             {"null", "0", "true", "{}", "[]", `["ann"]`, `""`},
		"email":            {"null", "0", "true", "{}", "[]", `["ann@example.com"]`, `""`},
		"acr":              {"null", "0", "true", "{}", "[]", `["mfa"]`, `""`},
		"groups":           {"null", "0", "true", "{}", `"ops"`, `""`, "[0]", "[null]", `["ops",0]`, `[["ops"]]`, `{"0":"ops"}`},
		"identity_omitted": {"null", "0", "1", `"true"`, "[]", "{}"},
	} {
		for _, value := range values {
			bad(f.claims.with(name, value), "%s is %s", name, value)
		}
	}
}

// numbers are values that a JSON reader could overflow, round, convert or take for
// "not set".
func (f *forge) numbers() {
	for _, name := range []string{"iat", "last_refresh", "epoch", "exp", "nbf", "auth_time", "session_expiry"} {
		good := f.now
		if name == "epoch" {
			good = int64(f.issuer.Epoch())
		}
		values := []string{
			"0", "-0", "0.0", "-1", fmt.Sprint(-good), fmt.Sprintf("%d.0", good), fmt.Sprintf("%d.5", good), fmt.Sprintf("%de0", good),
			fmt.Sprintf("%dE+0", good), "1e9", "1e19", "-1e19", "1e308", "1e400", "-1e400", "1e-400", "0e0",
			"9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616",
			fmt.Sprintf("18446744%d", 73709551616+good), "100000000000000000000000000000000",
			"null", "true", "false", "[]", "{}", `""`, `"now"`, quote(fmt.Sprint(good)), fmt.Sprintf("[%d]", good), `"2030-01-02T03:04:05Z"`,
		}
		if name != "epoch" {
			values = append(values, "100000000000", "9223372036854775807", fmt.Sprintf("%d000000", good))
		}
		for _, value := range values {
			f.add(token.ErrMalformed, f.withClaims(f.claims.with(name, value).String()), "number: %s is %s", name, value)
		}
	}
	for _, value := range []string{"9223372036854775807", "9223372036854775806", fmt.Sprint(int64(f.issuer.Epoch()) + int64(1e15))} {
		f.add(token.ErrMalformed, f.withClaims(f.claims.with("epoch", value).String()), "number: epoch is %s, ahead of the store's clock", value)
	}
}

// values are claims of the right type with a value that is not allowed.
func (f *forge) values() {
	bad := func(want token.Reason, name, value string) {
		f.add(want, f.withClaims(f.claims.with(name, value).String()), "value: %s is %.40s, %d bytes", name, value, len(value))
	}
	for _, sub := range []string{
		"", ".", "..", "me", strings.Repeat("a", 129), strings.Repeat("a", 5000), "a b", " a", "a ", "a/b", "../a", `a\b`, "a%2fb", "a?b", "a#b",
		"a&b", "a=b", "a,b", "a;b", "a+b", "a*b", "<b>", "a\u00e9", "\u0430dmin", "a\u200bb", "\u202enimda", `a"b`, "a'b", "a\u007fb",
	} {
		bad(token.ErrMalformed, "sub", quote(sub))
	}
	for _, sub := range []string{`"a\u0000b"`, `"a\nb"`, `"a\rb"`, `"a\tb"`, `"a\u2028b"`} {
		bad(token.ErrMalformed, "sub", sub)
	}
	sid := strings.Repeat("A", 21)
	for _, s := range []string{
		"", sid, sid + "AA", sid + "B", sid + "P", sid + "R", sid + "f", sid + "h", sid + "v", sid + "x", sid + "_", sid + "-", sid + "9",
		sid + "=", "A==", sid + "A==", sid[:20] + "+A", sid[:20] + "/A", sid[:20] + ".A", sid[:20] + " A", "0123456789abcdef0123456789abcdef", "\u00e9" + sid[:19] + "A",
	} {
		bad(token.ErrMalformed, "sid", quote(s))
	}

	iss, aud := f.issuer.Name, f.issuer.Audience
	for _, s := range []string{
		"", "https://attacker.example", iss + "/", iss + " ", " " + iss, strings.ToUpper(iss), iss[:len(iss)-1], iss + ".attacker.example",
		iss + "#", iss + "?", strings.Replace(iss, "https", "http", 1) + "x", strings.Replace(iss, "c", "\u0441", 1), "null", iss + "," + iss,
	} {
		bad(token.ErrWrongIssuer, "iss", quote(s))
	}
	bad(token.ErrWrongIssuer, "iss", `"\u0000`+iss+`"`)
	bad(token.ErrWrongIssuer, "iss", `"`+iss+`\u0000"`)
	for _, s := range []string{"", "another", aud + "/", aud + " ", " " + aud, strings.ToUpper(aud) + "X", aud[:len(aud)-1], aud + "," + aud, "*", "null", "[" + aud + "]"} {
		bad(token.ErrWrongAudience, "aud", quote(s))
		f.add(token.ErrWrongAudience, f.withClaims(f.claims.with("aud", "["+quote(s)+","+quote(s+"2")+"]").String()), "value: aud is two, like %q", s)
	}
	bad(token.ErrWrongAudience, "aud", "[]")
	bad(token.ErrMalformed, "aud", quote(aud)+","+quote(aud))
	bad(token.ErrMalformed, "last_refresh", fmt.Sprint(f.now-1)) // before iat
	bad(token.ErrMalformed, "last_refresh", "1")

	long := strings.Repeat("x", 513)
	bad(token.ErrMalformed, "auth_time", fmt.Sprint(f.now+1)) // after last_refresh
	bad(token.ErrMalformed, "auth_time", "99999999999")
	bad(token.ErrMalformed, "session_expiry", f.claims[f.claims.index("iat")].value) // before exp
	bad(token.ErrMalformed, "session_expiry", "1")
	for _, name := range []string{"name", "email", "acr"} {
		for _, value := range []string{quote(long), `"a\u0000b"`, `"a\r\nb"`, `"a\u007fb"`, `"a\u0085b"`} {
			bad(token.ErrMalformed, name, value)
		}
	}
	many := make([]string, 257)
	for i := range many {
		many[i] = quote(fmt.Sprint(i))
	}
	for _, value := range []string{
		`[""]`, `["ops",""]`, `["a\nb"]`, `["ops","ops"]`, `["ops","dev","\u006fps"]`, "[" + quote(long) + "]", "[" + strings.Join(many, ",") + "]",
	} {
		bad(token.ErrMalformed, "groups", value)
	}
}

// times are sessions that have ended or not begun, with a wide margin for clocks
// that differ.
func (f *forge) times() {
	set := func(want token.Reason, name string, pairs ...any) {
		claims := f.claims
		for i := 0; i < len(pairs); i += 2 {
			claims = claims.with(pairs[i].(string), fmt.Sprint(pairs[i+1]))
		}
		f.add(want, f.withClaims(claims.String()), "time: %s", name)
	}
	const latest = 99_999_999_999
	hour, day := int64(3600), int64(86400)
	maximum := settings.Seconds(settings.DefaultMaximumSessionDuration)

	set(token.ErrNotYetValid, "begins in an hour", "iat", f.now+hour, "last_refresh", f.now+hour, "exp", f.now+2*hour)
	set(token.ErrNotYetValid, "begins in the year 5138", "iat", latest, "last_refresh", latest, "exp", latest)
	set(token.ErrNotYetValid, "refreshed in an hour", "last_refresh", f.now+hour, "exp", f.now+2*hour)
	set(token.ErrNotYetValid, "refreshed in the year 5138, remember me", "last_refresh", latest, "remember_me", true)
	set(token.ErrNotYetValid, "nbf in an hour", "nbf", f.now+hour)
	set(token.ErrNotYetValid, "nbf in the year 5138", "nbf", latest)
	set(token.ErrNotYetValid, "nbf in an hour, and expired", "nbf", f.now+hour, "exp", f.now-hour)

	set(token.ErrMaximumDuration, "began too long ago", "iat", f.now-maximum-hour)
	set(token.ErrMaximumDuration, "began too long ago, with the latest exp", "iat", f.now-maximum-hour, "exp", latest)
	set(token.ErrMaximumDuration, "began too long ago, remember me", "iat", f.now-maximum-hour, "remember_me", true, "exp", latest)
	set(token.ErrMaximumDuration, "began too long ago, idle and expired", "iat", f.now-maximum-hour, "last_refresh", f.now-day, "exp", f.now-hour)
	set(token.ErrMaximumDuration, "began in 1970", "iat", 1, "last_refresh", f.now)
	set(token.ErrMaximumDuration, "begun and refreshed in 1970, latest exp, remember me", "iat", 1, "last_refresh", 1, "exp", latest, "remember_me", true)

	set(token.ErrMaximumDuration, "session_expiry an hour ago", "session_expiry", f.now-hour, "exp", f.now-hour)
	set(token.ErrMaximumDuration, "session_expiry an hour ago, remember me", "session_expiry", f.now-hour, "exp", f.now-hour, "remember_me", true)
	set(token.ErrMaximumDuration, "session_expiry in 1970", "session_expiry", 1, "exp", 1)
	set(token.ErrMaximumDuration, "session_expiry before it began, idle", "iat", f.now-hour, "last_refresh", f.now-hour, "session_expiry", f.now-day, "exp", f.now-day)

	set(token.ErrIdleTimeout, "idle for an hour", "iat", f.now-hour, "last_refresh", f.now-hour)
	set(token.ErrIdleTimeout, "idle for a day, latest exp", "iat", f.now-2*day, "last_refresh", f.now-day, "exp", latest)
	set(token.ErrIdleTimeout, "idle and expired", "iat", f.now-day, "last_refresh", f.now-hour, "exp", f.now-hour)

	set(token.ErrExpired, "expired an hour ago", "exp", f.now-hour)
	set(token.ErrExpired, "expired in 1970", "exp", 1)
	set(token.ErrExpired, "expired before it began", "exp", f.now-day)
	set(token.ErrExpired, "expired, remember me", "exp", f.now-hour, "remember_me", true)
	set(token.ErrExpired, "expired, refreshed a minute ago", "iat", f.now-hour, "last_refresh", f.now-60, "exp", f.now-30)
}
