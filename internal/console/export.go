package console

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wireform"
)

const (
	exportPage     = 500              // entries read at a time
	exportPatience = 30 * time.Second // for a reader that is slow to take one page of them
)

// export sends the entries that are selected, newest first, as they are read:
// there may be more than fit into memory. The connection is cut off where reading
// fails, so that half an export does not look like one.
func (p *auditPages) export(x *exchange) error {
	_, f, _, wrong, err := p.filter(x)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return errBadForm
	}
	var out exporter
	var kind string
	name := "audit-" + x.now().UTC().Format(time.DateOnly)
	switch x.text("format") {
	case "jsonl":
		out, kind, name = newLines(x.w), "application/jsonl", name+".jsonl"
	case "csv":
		mark, ok := map[string]bool{"": true, "yes": true, "no": false}[x.text("bom")]
		if !ok {
			return errBadForm
		}
		out, kind, name = newTable(x.w, mark), "text/csv; charset=utf-8; header=present", name+".csv"
	default:
		return errBadForm
	}
	control := http.NewResponseController(x.w)
	for {
		entries, err := p.page(x, f)
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
		if err := out.write(entries); err != nil {
			return err
		}
		if len(entries) < exportPage {
			return nil
		}
		f.Before = entries[len(entries)-1].ID
	}
}

// page reads the next entries, each page with a time of its own, and decides the
// caller again for each: the export stops when the session has ended.
func (p *auditPages) page(x *exchange, f store.AuditFilter) ([]store.Audit, error) {
	ctx, cancel := context.WithTimeout(x.r.Context(), x.timeout)
	defer cancel()
	if err := p.accounts.Again(ctx, x.caller, authz.Caller.MayAdminister); err != nil {
		return nil, err
	}
	return p.sessions.Audit(ctx, x.caller, f, exportPage)
}

type exporter interface {
	write(entries []store.Audit) error
}

// lines is an export as JSON lines: an entry each, as the API has them.
type lines struct{ encoder *json.Encoder }

func newLines(w io.Writer) lines {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return lines{e}
}

func (l lines) write(entries []store.Audit) error {
	for _, e := range entries {
		if err := l.encoder.Encode(wireform.Audit(e)); err != nil {
			return err
		}
	}
	return nil
}

// table is an export as comma-separated values (RFC 4180) for spreadsheets.
type table struct {
	out    io.Writer
	writer *csv.Writer
	mark   bool // begin with a byte order mark
	begun  bool
}

// newTable returns an export that begins with a byte order mark if mark is set: without
// one Excel reads it in the code page of the machine.
func newTable(w io.Writer, mark bool) *table {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	return &table{out: w, writer: c, mark: mark}
}

func (t *table) write(entries []store.Audit) error {
	if !t.begun {
		t.begun = true
		if t.mark {
			if _, err := io.WriteString(t.out, "\ufeff"); err != nil {
				return err
			}
		}
		if err := t.writer.Write([]string{"id", "at", "actor_kind", "actor_id", "actor_name", "action",
			"target_kind", "target_id", "target_name", "reason", "address", "request_id", "epoch", "detail"}); err != nil {
			return err
		}
	}
	for _, e := range entries {
		row := []string{
			strconv.FormatInt(e.ID, 10), time.UnixMicro(e.At).UTC().Format("2006-01-02T15:04:05.000000Z"),
			e.Actor.Kind, e.Actor.ID, e.Actor.Name, e.Action, e.TargetKind, e.TargetID, e.TargetName,
			e.Reason, e.Actor.Address, e.Actor.RequestID, strconv.FormatInt(int64(e.Epoch), 10), e.Detail,
		}
		for i := range row {
			row[i] = harmless(row[i])
		}
		if err := t.writer.Write(row); err != nil {
			return err
		}
	}
	t.writer.Flush()
	return t.writer.Error()
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
