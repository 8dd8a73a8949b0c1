package account_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"example.com/curfew/internal/account"
)

func utf16Text(text string, big, mark bool) string {
	if mark {
		text = "\ufeff" + text
	}
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		low, high := byte(unit), byte(unit>>8)
		if big {
			low, high = high, low
		}
		b.WriteByte(low)
		b.WriteByte(high)
	}
	return b.String()
}

func TestReadList(t *testing.T) {
	for _, tt := range []struct {
		what, text string
		want       []string
		heading    string
	}{
		{"nothing", "", nil, ""},
		{"blank lines", "\n \r\n\t\n", nil, ""},
		{"lines", "Zoë\nŁukasz\n", []string{"Zoë", "Łukasz"}, ""},
		{"CRLF, without a last one", "Zoë\r\nŁukasz", []string{"Zoë", "Łukasz"}, ""},
		{"CR", "Zoë\rŁukasz\r", []string{"Zoë", "Łukasz"}, ""},
		{"each once", "a\nb\n a \nb", []string{"a", "b"}, ""},
		{"UTF-8 with BOM", "\xef\xbb\xbfZoë\r\nŁukasz\r\n", []string{"Zoë", "Łukasz"}, ""},
		{"UTF-16 LE with BOM", utf16Text("Zoë\r\nŁukasz\r\n𝔘we", false, true), []string{"Zoë", "Łukasz", "𝔘we"}, ""},
		{"UTF-16 BE with BOM", utf16Text("Zoë\r\nŁukasz\r\n", true, true), []string{"Zoë", "Łukasz"}, ""},
		{"UTF-16 as Excel's Unicode text", utf16Text("name\temail\r\nZoë\tzoe@example.org\r\n", false, true), []string{"name", "Zoë"}, "name"},
		{"UTF-16 that is cut off", utf16Text("Zoë\nŁu", false, true) + "k", []string{"Zoë", "Łu\ufffd"}, ""},
		{"Windows-1252", "Zo\xeb\r\nJos\xe9\r\n\x8aime\x9e\r\n", []string{"Zoë", "José", "Šimež"}, ""},
		{"decomposed", "Jose\u0301\n", []string{"Jose\u0301"}, ""},
		{"no-break spaces and tabs at the ends", "\u00a0Zoë\u00a0\n\tŁukasz \n", []string{"Zoë", "Łukasz"}, ""},
		{"names with commas", "Schmidt, Anna\nMüller, Bernd", []string{"Schmidt, Anna", "Müller, Bernd"}, ""},
		{"one quoted name", `"Schmidt, Anna"`, []string{"Schmidt, Anna"}, ""},
		{"quoted names", "\"Schmidt, Anna\"\r\n\"Zoë\"\r\n", []string{"Schmidt, Anna", "Zoë"}, ""},
		{"quoted and plain names", "\"Schmidt, Anna\"\nMüller, Bernd\nZoë", []string{"Schmidt, Anna", "Müller, Bernd", "Zoë"}, ""},
		{"quotes in a quoted name", `"Al ""Scarface"" C"`, []string{`Al "Scarface" C`}, ""},
		{"quotes in a name", `Al "Scarface" C`, []string{`Al "Scarface" C`}, ""},
		{"a name that begins with quotes", `"Scarface" Al`, []string{`"Scarface" Al`}, ""},
		{"semicolons and a heading", "name;email\r\nZoë;zoe@example.org\r\n", []string{"name", "Zoë"}, "name"},
		{"semicolons, quoted", "\"Schmidt; Anna\";1\n\"Zoë\";2", []string{"Schmidt; Anna", "Zoë"}, ""},
		{"semicolons, one row", "Zoë; Łukasz ;mira", []string{"Zoë", "Łukasz", "mira"}, ""},
		{"tabs, one row", "Zoë\tŁukasz", []string{"Zoë", "Łukasz"}, ""},
		{"addresses in one row", "mira@example.org; zoe@example.org", []string{"mira@example.org", "zoe@example.org"}, ""},
		{"addresses with a comma", "mira@example.org, zoe@example.org", []string{"mira@example.org", "zoe@example.org"}, ""},
		{"two addresses a row", "a@example.org,b@example.org\nc@example.org,d@example.org", []string{"a@example.org", "b@example.org", "c@example.org", "d@example.org"}, ""},
		{"one name with a comma", "Schmidt, Anna", []string{"Schmidt, Anna"}, ""},
		{"a heading in another column", "Vorname;Nachname;E-Mail\nMira;Becker;anna@example.org", []string{"E-Mail", "anna@example.org"}, "E-Mail"},
		{"a heading behind a number", "Nr;E-Mail\n1;anna@example.org\n2;bernd@example.org", []string{"E-Mail", "anna@example.org", "bernd@example.org"}, "E-Mail"},
		{"commas and a heading in another column", "SamAccountName,Mail\nmira,m@example.org", []string{"Mail", "m@example.org"}, "Mail"},
		{"a row without its last fields", "name;email;room\na;a@x.org;1\nb;b@x.org;2\nc;c@x.org;3\nd\ne;e@x.org;5", []string{"name", "a", "b", "c", "d", "e"}, "name"},
		{"a quote in a field", "name;disk\nmira;5\" disk\nzoe;none", []string{"name", "mira", "zoe"}, "name"},
		{"semicolons in one name of many", "Zoë\nA; B\nŁukasz", []string{"Zoë", "A; B", "Łukasz"}, ""},
		{"a delimiter for Excel", "sep=;\r\nE-Mail;Name\r\nzoe@example.org;Zoë\r\n", []string{"E-Mail", "zoe@example.org"}, "E-Mail"},
		{"commas and a heading", "Username,Department\nzoe,Sales\nlukasz,Ops", []string{"Username", "zoe", "lukasz"}, "Username"},
		{"commas and addresses", "Zoë,zoe@example.org\nŁukasz,l@example.org", []string{"Zoë", "Łukasz"}, ""},
		{"commas and an unknown heading", "Mitarbeiter,Adresse\nZoë,zoe@example.org", []string{"Mitarbeiter", "Zoë"}, ""},
		{"commas, quoted", "\"Schmidt, Anna\",\"Sales\"\n\"Zoë\",\"Ops\"", []string{"Schmidt, Anna", "Zoë"}, ""},
		{"a line break in a quoted field", "name;note\nZoë;\"two\nlines\"\n", []string{"name", "Zoë"}, "name"},
		{"an empty first column", "name;email\n;nobody@example.org\nZoë;\n", []string{"name", "Zoë"}, "name"},
		{"a user called name", "name\nzoe\n", []string{"name", "zoe"}, ""},
		{"addresses", "zoe@example.org\nlukasz@example.org\n", []string{"zoe@example.org", "lukasz@example.org"}, ""},
	} {
		got := account.ReadList([]byte(tt.text))
		if !slices.Equal(got.Names, tt.want) || got.Heading != tt.heading {
			t.Errorf("%s: %q with the heading %q, want %q with %q", tt.what, got.Names, got.Heading, tt.want, tt.heading)
		}
	}
}
