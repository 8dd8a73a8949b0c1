package httpapi

import (
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"example.com/curfew/internal/store"
)

// Every call that openapi.yaml describes has its rows among the expectations, and
// they agree with the description. A new call therefore states which callers may
// make it and on which targets, and a test tries it.
func TestPermissionsAreDescribed(t *testing.T) {
	rows := map[string][]expectation{}
	for _, e := range expectations {
		rows[e.route] = append(rows[e.route], e)
	}
	described := map[string]*openapi3.Operation{}
	for path, item := range mustDocument(t).Paths.Map() {
		for method, operation := range item.Operations() {
			name := method + " " + path
			if slices.ContainsFunc(Routes(), func(r Route) bool { return r.Method == "" && r.Pattern == path }) {
				name = "ANY " + path // one row stands for all of its methods
			}
			described[name] = operation
		}
	}
	for name, operation := range described {
		if len(rows[name]) == 0 {
			t.Errorf("%s: no row says which callers may do that", name)
		}
		for _, row := range rows[name] {
			for _, wrong := range undescribed(row, operation) {
				t.Errorf("%s %s: %s", name, row.body, wrong)
			}
		}
		if wrong := unused(rows[name], operation); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
	for name := range rows {
		if described[name] == nil {
			t.Errorf("%s has a row, but is not in openapi.yaml", name)
		}
	}
}

// letters returns who may make a call by the description: as themselves, and
// beyond that. A user's token opens nothing that takes no session.
func letters(operation *openapi3.Operation) (own, others string) {
	sessions := operation.Security == nil || len(*operation.Security) == 0
	for _, requirement := range *operation.Security {
		for scheme := range requirement {
			sessions = sessions || scheme == "session" || scheme == "cookie"
		}
	}
	list, _ := operation.Extensions["x-permissions"].([]any)
	switch {
	case !sessions:
		return "", ""
	case len(list) == 0:
		return "uea", "uea"
	}
	if slices.Contains(list, any(store.UserEdit)) {
		others += string(editor)
	}
	if slices.Contains(list, any(store.AdministerSystem)) {
		others += string(administrator)
	}
	if own = others; slices.Contains(list, any("self")) {
		own = "uea"
	}
	return own, others
}

// undescribed returns the faults of a row: it admits a caller that the description
// does not, or does not try all targets. A row may be narrower, for example since
// only administrators may change an administrator's account.
func undescribed(row expectation, operation *openapi3.Operation) (wrong []string) {
	own, others := letters(operation)
	for _, column := range []struct{ target, row, described string }{
		{"themselves", row.own, own}, {"another", row.other, others}, {"an administrator", row.admin, others},
	} {
		for _, letter := range column.row {
			if !strings.ContainsRune(column.described, letter) {
				wrong = append(wrong, "the row lets "+string(letter)+" do it to "+column.target+", the description does not")
			}
		}
	}
	_, pattern, _ := strings.Cut(row.route, " ")
	aboutUser := strings.HasPrefix(pattern, "/v1/users/{id}") || strings.Contains(row.body, "{id}")
	if own != "" && aboutUser && (row.other == "" || row.admin == "") {
		wrong = append(wrong, "the row does not try another's account and an administrator's")
	}
	return wrong
}

// unused returns the callers that the description admits and no row does.
func unused(rows []expectation, operation *openapi3.Operation) string {
	own, _ := letters(operation)
	for _, letter := range own {
		if !slices.ContainsFunc(rows, func(e expectation) bool { return strings.ContainsRune(e.own, letter) }) {
			return "the description lets " + string(letter) + " do it, and no row does"
		}
	}
	return ""
}
