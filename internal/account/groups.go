package account

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// The bounds of a user's groups. Tokens and response headers carry all of them, and
// a token must stay below 4 KiB.
const (
	maxGroups      = 64   // of one user
	maxGroupLength = 64   // characters of a name
	maxGroupsSize  = 1024 // bytes of all names together, as a JSON array
)

// NormalizeGroups returns the names of groups as they are stored: each like the name
// of a user (see [NormalizeName]), each once, sorted. A name has no comma, because
// the header Remote-Groups separates names by commas. The error is an [*Invalid]
// about the field groups.
func NormalizeGroups(names []string) ([]string, error) {
	var wrong Invalid
	note := func(format string, args ...any) {
		if invalid, ok := errors.AsType[*Invalid](InvalidField("groups", format, args...)); ok {
			wrong.Fields = append(wrong.Fields, invalid.Fields...)
		}
	}
	if len(names) > 2*maxGroups { // before each is looked at
		return nil, InvalidField("groups", "must have at most %d names, but has %d", maxGroups, len(names))
	}
	byKey := map[string]string{}
	groups := make([]string, 0, len(names))
	for _, text := range names {
		name, key, err := NormalizeName(text)
		invalid, _ := errors.AsType[*Invalid](err)
		switch before, again := byKey[key]; {
		case invalid != nil:
			note("contains %q, but a name %s", shortened(text), invalid.Fields[0].Detail)
		case strings.Contains(name, ","):
			note("contains %q, but a name must not contain a comma", shortened(text))
		case utf8.RuneCountInString(name) > maxGroupLength:
			note("contains %q, but a name must have at most %d characters", shortened(text), maxGroupLength)
		case again && before != name:
			note("contains %q and %q, which differ only in letter case", before, name)
		case !again:
			byKey[key] = name
			groups = append(groups, name)
		}
	}
	slices.Sort(groups)
	size, err := json.Marshal(groups)
	switch {
	case len(wrong.Fields) > 0:
		return nil, &wrong
	case err != nil:
		return nil, err
	case len(groups) > maxGroups:
		note("must have at most %d names, but has %d", maxGroups, len(groups))
		return nil, &wrong
	case len(size) > maxGroupsSize:
		note("are too long for a token, which has room for %d bytes of names and separators; these take %d; use shorter names or fewer groups", maxGroupsSize, len(size))
		return nil, &wrong
	}
	return groups, nil
}

// shortened returns the beginning of a text for an error.
func shortened(text string) string {
	const most = maxGroupLength
	for i := range text {
		if i >= most {
			return text[:i] + "…"
		}
	}
	return text
}

// leaves reports whether a group of before is not in after.
func leaves(before, after []string) bool {
	return slices.ContainsFunc(before, func(group string) bool { return !slices.Contains(after, group) })
}
