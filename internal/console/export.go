package console

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
)

const (
	exportPage     = 500              // rows read at a time
	exportPatience = 30 * time.Second // for a reader that is slow to take one page of them
)

// An export is a list that is sent as a file, of rows of the type T.
type export[T any] struct {
	name   string                                            // of the file, without ending
	page   func(ctx context.Context, limit int) ([]T, error) // the next rows; fewer than limit at the end
	json   func(T) any
	header []string
	row    func(T) []string
}

// send sends the rows as they are read: there may be more than fit into memory. Each
// page has a time of its own, and the caller is decided again for each: the export
// stops when the session has ended. The connection is cut off where reading fails, so
// that half an export does not look like one.
func (e export[T]) send(x *exchange, accounts *account.Service) error {
	var write func([]T) error
	var kind string
	name := e.name + "-" + x.now().UTC().Format(time.DateOnly)
	switch x.text("format") {
	case "jsonl":
		write, kind, name = e.lines(x.w), "application/jsonl", name+".jsonl"
	case "csv":
		mark, ok := map[string]bool{"": true, "yes": true, "no": false}[x.text("bom")]
		if !ok {
			return errBadForm
		}
		write, kind, name = e.table(x.w, mark), "text/csv; charset=utf-8; header=present", name+".csv"
	default:
		return errBadForm
	}
	control := http.NewResponseController(x.w)
	for {
		rows, err := e.next(x, accounts)
		if err != nil {
			return err
		}
		if !x.sent {
			x.begin()
			x.w.Header().Set("Content-Type", kind)
			x.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
			x.w.WriteHeader(http.StatusOK)
		}
		// What cannot be set has no deadline that could be in the way.
		_ = control.SetWriteDeadline(time.Now().Add(exportPatience))
		if err := write(rows); err != nil {
			return err
		}
		if len(rows) < exportPage {
			return nil
		}
	}
}

func (e export[T]) next(x *exchange, accounts *account.Service) ([]T, error) {
	ctx, cancel := context.WithTimeout(x.r.Context(), x.timeout)
	defer cancel()
	if err := accounts.Again(ctx, x.caller, authz.Caller.MayAdminister); err != nil {
		return nil, err
	}
	return e.page(ctx, exportPage)
}

// lines writes JSON lines, each a row as the API has it.
func (e export[T]) lines(w io.Writer) func([]T) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return func(rows []T) error {
		for _, row := range rows {
			if err := encoder.Encode(e.json(row)); err != nil {
				return err
			}
		}
		return nil
	}
}

// table writes comma-separated values (RFC 4180) for spreadsheets. It begins with a byte
// order mark if mark is set: without one Excel reads it in the code page of the machine.
func (e export[T]) table(w io.Writer, mark bool) func([]T) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	begun := false
	return func(rows []T) error {
		if !begun {
			begun = true
			if mark {
				if _, err := io.WriteString(w, "\ufeff"); err != nil {
					return err
				}
			}
			if err := out.Write(e.header); err != nil {
				return err
			}
		}
		for _, row := range rows {
			cells := e.row(row)
			for i := range cells {
				cells[i] = harmless(cells[i])
			}
			if err := out.Write(cells); err != nil {
				return err
			}
		}
		out.Flush()
		return out.Error()
	}
}

// tableTime is an instant in a table.
func tableTime(micros int64) string {
	if micros == 0 {
		return ""
	}
	return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.000000Z")
}

// harmless puts an apostrophe before a text that a spreadsheet would not take for text.
//
// A text whose first visible character could begin a formula would be one (OWASP,
// CSV injection); the wide forms of these characters are formulas in East Asian
// versions. A number of more than 15 digits would lose its last digits, and a
// leading zero would be lost; 12E4 would become 120000, and 1.50 is 1.5 in some
// languages and a date in others.
func harmless(text string) string {
	trimmed := strings.TrimLeftFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
	for _, lead := range []string{"=", "+", "-", "@", "＝", "＋", "－", "＠"} {
		if strings.HasPrefix(trimmed, lead) {
			return "'" + text
		}
	}
	if first, _ := utf8.DecodeRuneInString(text); unicode.IsControl(first) || changedNumber.MatchString(trimmed) {
		return "'" + text
	}
	return text
}

// changedNumber matches numbers that a spreadsheet does not keep as they are.
var changedNumber = regexp.MustCompile(`^(?:[0-9]{16,}|0[0-9]+|[0-9]*[.,][0-9]+|[0-9]+[.,]|[0-9]{1,3}(?:[.,][0-9]{3})+|[0-9.,]+[eE][0-9]+)[\s\x{a0}]*$`)
