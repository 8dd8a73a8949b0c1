package console

import (
	"maps"
	"slices"
)

// A problem is an error in a form that was sent: in one of its fields, or
// in the whole.
type problem struct {
	Words string
	At    string // id of the field; "" if it is about the whole form
}

// formField is a field of a form that can be wrong.
type formField struct{ name, words, id string }

// formFields are all of them, in the order in which forms have them. A page has an
// element with the id where it has the field.
var formFields = []formField{
	{"name", "Name", "name"}, {"email", "Email", "email"}, {"password", "Password", "password"},
	{"current", "Current password", "current"}, {"new", "New password", "new"}, {"again", "New password, again", "again"},
	{"groups", "Groups", "groups"}, {"permissions", "Permissions", "permissions"}, {"disabled", "Account", "disabled"},
	{"scope", "Which sessions", "scope"}, {"names", "Names", "names"}, {"reason", "Reason", "why"}, {"note", "Details", "note"}, {"word", "Confirmation", "word"},
	{"capabilities", "Capabilities", "capabilities"},
	{"session_timeout_seconds", "Session timeout", "timeout"}, {"maximum_session_duration_seconds", "Maximum session duration", "maximum"},
	{"issuer", "Issuer", "issuer"}, {"client_id", "Client ID", "client-id"}, {"client_secret", "Client secret", "client-secret"}, {"scopes", "Scopes", "scopes"},
	{"name_claim", "Name claim", "name-claim"}, {"allowed_email_domains", "Allowed email domains", "domains"}, {"allowed_groups", "Allowed groups", "allowed-groups"},
	{"groups_claim", "Groups claim", "groups-claim"}, {"group_permissions", "Permissions of groups", "group-permissions"}, {"acr_values", "Authentication context", "acr"},
	{"person", "Person", "person"}, {"session", "Session ID", "session-id"}, {"from", "From", "from"}, {"to", "To", "to"},
}

// whole is the name of an error that is in no single field of a form.
const whole = ""

// filterFields are the fields of the filters of lists, which change nothing.
var filterFields = []string{"person", "session", "from", "to"}

// Filtering reports whether the errors are those of a filter.
func (f frame) Filtering() bool {
	for name := range f.Errors {
		if !slices.Contains(filterFields, name) {
			return false
		}
	}
	return len(f.Errors) > 0
}

// Problems returns the errors of the form, in the order of its fields, for the
// summary at the top of the page.
func (f frame) Problems() []problem {
	var all []problem
	if words := f.Errors[whole]; words != "" {
		all = append(all, problem{Words: words})
	}
	for _, known := range formFields {
		if words := f.Errors[known.name]; words != "" {
			all = append(all, problem{Words: known.words + ": " + words, At: known.id})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Errors)) {
		if name != whole && !slices.ContainsFunc(formFields, func(known formField) bool { return known.name == name }) {
			all = append(all, problem{Words: name + ": " + f.Errors[name]})
		}
	}
	return all
}
