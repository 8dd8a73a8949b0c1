package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/fault"
)

// The number of entries of a page.
const (
	defaultLimit = 100
	largestLimit = 500
)

// checkQuery reads a query that may have the parameters given and no others. A
// parameter that is misspelt would otherwise be a wish that is silently not
// heard: PUT …?dryrun=true would be no dry run.
func checkQuery(raw string, allowed []string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: the query is malformed", fault.ErrInvalid)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(allowed, name):
			return nil, account.InvalidField(cutName(strings.ToValidUTF8(name, "\ufffd")), "is not a known parameter")
		case len(values) > 1:
			return nil, account.InvalidField(name, "is given twice")
		case !utf8.ValidString(values[0]) || strings.ContainsFunc(values[0], unicode.IsControl):
			return nil, account.InvalidField(name, "contains characters that are not text")
		}
	}
	return q, nil
}

// limit reads ?limit=.
func limit(q url.Values) (int, error) {
	if !q.Has("limit") {
		return defaultLimit, nil
	}
	n, err := strconv.ParseUint(q.Get("limit"), 10, 16)
	if err != nil || n < 1 || n > largestLimit {
		return 0, account.InvalidField("limit", "must be a whole number from 1 to %d", largestLimit)
	}
	return int(n), nil
}

// boolean reads a parameter that is true or false; false if it is not given.
func boolean(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if !q.Has(name) {
		return false, nil
	}
	return false, account.InvalidField(name, "must be true or false")
}

// A cursor says where a list goes on. It is opaque to callers: its content may
// change with any version. It holds the name of the list, so that a cursor of one
// list is refused by another.
func cursor(list, position string) string {
	b, err := json.Marshal([2]string{list, position})
	if err != nil {
		panic(err) // strings
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

var errCursor = account.InvalidField("cursor", "is not a cursor of this list")

// position reads ?cursor=; "" if it is not given.
func position(q url.Values, list string) (string, error) {
	if !q.Has("cursor") {
		return "", nil
	}
	var parts [2]string
	b, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
	if err == nil {
		err = json.Unmarshal(b, &parts)
	}
	if err != nil || parts[0] != list || parts[1] == "" || strings.Contains(parts[1], "\x00") {
		return "", errCursor
	}
	return parts[1], nil
}

// numberedPosition reads ?cursor= of a list that is ordered by a positive number; 0 if
// it is not given.
func numberedPosition(q url.Values, list string) (int64, error) {
	text, err := position(q, list)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 {
		return 0, errCursor
	}
	return int64(n), nil // #nosec G115 -- 63 bits
}
