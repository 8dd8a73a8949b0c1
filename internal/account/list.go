package account

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	xunicode "golang.org/x/text/encoding/unicode"
)

// List is a list of users as a person wrote it or a program exported it.
type List struct {
	// Names are the texts that name users, each once: see [Service.FindUsers].
	Names []string
	// Heading is the first name if it is the heading of a column, which names no user
	// unless one is called so; else "".
	Heading string
}

// ReadList reads a list of users, one a line. The text is UTF-8, UTF-16 with a byte
// order mark, or Windows-1252, as spreadsheets write it. Of a table with several
// columns (CSV with commas, semicolons or tabs) the first column counts, or the
// first whose heading says that it names users.
//
// A comma alone makes no table, because names contain commas: "Schmidt, Anna". It
// separates columns in a list with a known heading, with quoted fields, or with email
// addresses in a later column.
func ReadList(content []byte) List {
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\ufeff", "").Replace(decodeText(content))
	lines := make([]string, 0, strings.Count(text, "\n")+1)
	for line := range strings.Lines(text) {
		if name := strings.TrimFunc(line, blank); name != "" {
			lines = append(lines, name)
		}
	}
	if len(lines) > 0 && len(lines[0]) == len("sep=;") && strings.HasPrefix(strings.ToLower(lines[0]), "sep=") {
		lines = lines[1:] // which delimiter Excel is to use
	}
	names, heading := firstColumn(lines)
	var list List
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		name = strings.TrimFunc(name, blank)
		if name == "" || seen[name] {
			continue
		}
		seen[name] = true
		list.Names = append(list.Names, name)
		if heading && i == 0 {
			list.Heading = name
		}
	}
	return list
}

// blank reports whether a character at the end of a line is no part of a name: white
// space, also the no-break space, and NUL.
func blank(r rune) bool { return unicode.IsSpace(r) || r == 0 }

// decodeText returns the text of a file.
func decodeText(content []byte) string {
	switch {
	case bytes.HasPrefix(content, []byte("\xef\xbb\xbf")):
		content = content[3:]
	case bytes.HasPrefix(content, []byte("\xff\xfe")), bytes.HasPrefix(content, []byte("\xfe\xff")):
		if text, err := xunicode.UTF16(xunicode.LittleEndian, xunicode.ExpectBOM).NewDecoder().Bytes(content); err == nil {
			return string(text)
		}
	}
	if utf8.Valid(content) {
		return string(content)
	}
	text, err := charmap.Windows1252.NewDecoder().Bytes(content)
	if err != nil {
		return strings.ToValidUTF8(string(content), string(utf8.RuneError))
	}
	return string(text)
}

// firstColumn returns the column of a table that names users, or the lines if they
// are none: the first column, or the first with a heading that says so. A row alone,
// and rows of nothing but email addresses, are lists: every field counts, so that no
// user is left out. heading reports whether the first name is a heading.
func firstColumn(lines []string) (names []string, heading bool) {
	text := strings.Join(lines, "\n")
	for _, delimiter := range []rune{'\t', ';', ','} {
		rows := table(text, delimiter)
		if rows == nil {
			continue
		}
		column := slices.IndexFunc(rows[0], isHeading)
		heading = column >= 0
		if isList(rows, delimiter) {
			return slices.Concat(rows...), false
		}
		if delimiter == ',' && !heading && !strings.Contains(text, `"`) && !addressed(rows) {
			continue
		}
		names = make([]string, len(rows))
		for i, row := range rows {
			if at := max(column, 0); at < len(row) {
				names[i] = row[at]
			}
		}
		return names, heading
	}
	names = make([]string, len(lines))
	for i, line := range lines {
		names[i] = unquoted(line)
	}
	return names, false
}

func isHeading(field string) bool {
	return slices.Contains(headings, strings.ToLower(strings.TrimFunc(field, blank)))
}

// isList reports whether every field of the rows names a user.
func isList(rows [][]string, delimiter rune) bool {
	if len(rows) == 1 && delimiter != ',' {
		return !slices.ContainsFunc(rows[0], isHeading)
	}
	for _, row := range rows {
		if slices.ContainsFunc(row, func(field string) bool { return checkEmail(emailTyped(strings.TrimFunc(field, blank))) != nil }) {
			return false
		}
	}
	return true
}

// headings are headings of columns that name users.
var headings = []string{
	"name", "names", "user", "users", "username", "user name", "user_name", "login", "sign-in name", "id", "user id", "user_id",
	"email", "e-mail", "mail", "email address", "e-mail address",
}

// table returns the rows of a table with at least two columns; nil if the text is
// none. Programs leave out empty fields at the end of a row, so one row in five may
// have another number of fields.
func table(text string, delimiter rune) [][]string {
	if !strings.ContainsRune(text, delimiter) {
		return nil
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = delimiter, -1, true
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 || len(rows[0]) < 2 {
		return nil
	}
	ragged := 0
	for _, row := range rows {
		if len(row) != len(rows[0]) {
			ragged++
		}
	}
	if ragged*5 > len(rows) {
		return nil
	}
	return rows
}

// addressed reports whether a column other than the first has an email address in
// every row but the first.
func addressed(rows [][]string) bool {
	rows = rows[min(1, len(rows)-1):]
	for column := 1; column < len(rows[0]); column++ {
		if !slices.ContainsFunc(rows, func(row []string) bool { return column >= len(row) || checkEmail(emailTyped(row[column])) != nil }) {
			return true
		}
	}
	return false
}

// unquoted returns the content of a line that is one quoted field, else the line.
func unquoted(line string) string {
	if !strings.HasPrefix(line, `"`) {
		return line
	}
	fields, err := csv.NewReader(strings.NewReader(line)).Read()
	if err != nil || len(fields) != 1 {
		return line
	}
	return fields[0]
}
