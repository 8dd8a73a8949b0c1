package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a duration: Go's notation (90s, 1h30m), whole days (20d),
// or a plain number of seconds.
func ParseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 64)
		if err != nil || n < 0 || n > int64(math.MaxInt64/(24*time.Hour)) {
			return 0, fmt.Errorf("%q is not a number of days", text)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 || n > int64(math.MaxInt64/time.Second) {
			return 0, fmt.Errorf("%q is out of range", text)
		}
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration; use 90s, 20m, 12h, 20d or a number of seconds", text)
	}
	return d, nil
}

// FormatDuration writes a duration in the notation of [ParseDuration]: in whole
// days if it has them.
func FormatDuration(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// parseSwitch reads the value of an option that is on or off.
func parseSwitch(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "1", "true", "on", "yes":
		return true, nil
	case "0", "false", "off", "no", "":
		return false, nil
	}
	return false, fmt.Errorf("%q is not a boolean; use true or false", text)
}

// checkAddress says whether a text may be listened at.
func checkAddress(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not an address; use host:port, such as 127.0.0.1:8420", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("%q is not an address: the port %q is not a number from 0 to 65535", text, port)
	}
	return nil
}

// parseKey reads a key of 32 bytes in base64, either alphabet, with or without
// padding. Errors do not quote it.
func parseKey(text string) ([]byte, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	key, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("not base64; " + HowToMakeKey)
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("it has %d bytes, want 32; %s", len(key), HowToMakeKey)
	}
	return key, nil
}

// HowToMakeKey is the hint when the key-encryption key is missing.
const HowToMakeKey = "create one with: head -c 32 /dev/urandom | base64"

// parsePrefix reads a network, or one address.
func parsePrefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		if address.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q has a zone; remove it", text)
		}
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network; use 10.0.0.0/8 or 192.0.2.7", text)
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its prefix length; did you mean %s?", text, prefix.Masked())
	}
	return prefix, nil
}

// checkIssuer says whether a text may be an issuer: an http or https URL without
// query and fragment (RFC 8414, section 2; http is for development).
func checkIssuer(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return fmt.Errorf("%q is not an http or https URL such as https://curfew.example", text)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(text, "#"):
		return fmt.Errorf("%q: an issuer must not have a query or fragment (RFC 8414)", text)
	case u.User != nil:
		return errors.New("an issuer must not have a user name or password: every token would carry them")
	case len(text) > 1024:
		return fmt.Errorf("%d characters are too many; at most 1024 are allowed, because every token carries them", len(text))
	}
	return nil
}

// checkAudience says whether a text may be an audience.
func checkAudience(text string) error {
	switch {
	case text == "":
		return errors.New("an audience must not be empty")
	case len(text) > 512:
		return fmt.Errorf("%d characters are too many; at most 512 are allowed, because every token carries them", len(text))
	}
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == '�' {
			return fmt.Errorf("%q has control characters or is not UTF-8", text)
		}
	}
	return nil
}

// checkHost says whether a text is a host name or address, with a port if any.
func checkHost(text string) error {
	u, err := url.Parse("//" + text)
	if err != nil || u.Host != text || u.Hostname() == "" || strings.ContainsAny(text, " @/,;*") {
		return fmt.Errorf("%q is not a host such as app.example or app.example:8443", text)
	}
	return nil
}

// checkOrigin says whether a text is an origin as browsers write it in the header
// Origin (RFC 6454, section 6.2): browsers compare it letter by letter.
func checkOrigin(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "*":
		return errors.New(`"*" would let every site call the API in its visitors' browsers; name each origin`)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '*' }):
		return fmt.Errorf("%q is not an origin such as https://app.example or http://localhost:5173", text)
	case strings.HasSuffix(u.Host, ":"), u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80":
		return fmt.Errorf("%q: browsers leave the default port out of an origin; use %s", text, u.Scheme+"://"+strings.ToLower(u.Hostname()))
	case text != u.Scheme+"://"+strings.ToLower(u.Host):
		return fmt.Errorf("%q: an origin is a scheme and a host in small letters, and a port if it is not the default; use %s", text, u.Scheme+"://"+strings.ToLower(u.Host))
	}
	return nil
}

// checkDomain says whether cookies can be meant for a domain.
func checkDomain(text string) error {
	name := strings.TrimPrefix(text, ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("%q is an address; a cookie for several hosts requires a domain such as example.com", text)
	}
	if !strings.Contains(name, ".") {
		return fmt.Errorf("%q is a single label, and browsers refuse cookies for it; use a domain such as example.com", text)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return fmt.Errorf("%q is not a domain name such as example.com", text)
		}
	}
	return nil
}

// parseLevel reads a log level.
func parseLevel(text string) (slog.Level, error) {
	switch strings.ToLower(text) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is not one of debug, info, warn, error", text)
}

// oneOf returns a check that a text is among words.
func oneOf(words ...string) func(string) error {
	return func(text string) error {
		if slices.Contains(words, text) {
			return nil
		}
		return fmt.Errorf("%q is not one of %s", text, strings.Join(words, ", "))
	}
}

// maxCookieName is the maximum length of a cookie's name in bytes. A browser keeps 4096
// bytes of name and value together, and a token may have 3800.
const maxCookieName = 128

// checkCookieName returns an error unless browsers accept a cookie of this name for the
// domain, which may be empty (RFC 6265, section 4.1.1, and the prefixes of RFC
// 6265bis, section 4.1.3; browsers ignore their letter case).
func checkCookieName(name, domain string) error {
	if len(name) > maxCookieName {
		return fmt.Errorf("the name has %d bytes; use at most %d", len(name), maxCookieName)
	}
	for i := range len(name) {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return fmt.Errorf("%q can't be in the name of a cookie; use letters, digits, - and _", c)
		}
	}
	if domain != "" && strings.HasPrefix(strings.ToLower(name), "__host-") {
		return errors.New("browsers refuse a cookie with the prefix __Host- for a domain; use the prefix __Secure-")
	}
	return nil
}

// CheckIssuer returns an error if a text cannot be an issuer.
func CheckIssuer(text string) error { return checkIssuer(text) }

// CheckAudience returns an error if a text cannot be an audience.
func CheckAudience(text string) error { return checkAudience(text) }
