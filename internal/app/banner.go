package app

import (
	"fmt"
	"io"
	"strings"
)

// greeting is what a start prints on the terminal.
type greeting struct {
	Version  string
	URL      string        // to open in a browser
	Docs     string        // URL of the documentation; "" if there is none
	Issuer   string        // the address that users open; "" if it is URL
	Database string        // "" for an edge
	Upstream []string      // of an edge
	Metrics  string        // URL, "" if there are none
	First    bool          // the first start: an account was made
	Password firstPassword // that was made up for it; zero if it was given
	Ignored  bool          // CURFEW_ADMIN_PASSWORD is set, and an earlier start made the account
	Unused   bool          // an earlier start made it, and it was never used to sign in
}

const adminIgnored = "CURFEW_ADMIN_PASSWORD is set and was not used: an earlier start created the account admin. To set a new password: curfew user password admin"

// greet writes to the terminal. This is the one place where the password is ever
// shown, on a terminal only: it goes into no log.
func greet(w io.Writer, g greeting) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  Curfew %s\n\n", g.Version)
	if g.Upstream == nil {
		fmt.Fprintf(&b, "  open       %s\n", g.URL)
	} else { // an edge has no pages but the documentation
		fmt.Fprintf(&b, "  address    %s\n", g.URL)
	}
	if g.Docs != "" {
		fmt.Fprintf(&b, "  docs       %s\n", g.Docs)
	}
	if g.Issuer != "" {
		fmt.Fprintf(&b, "  issuer     %s\n", g.Issuer)
	}
	if g.Metrics != "" {
		fmt.Fprintf(&b, "  metrics    %s\n", g.Metrics)
	}
	if g.Database != "" {
		fmt.Fprintf(&b, "  database   %s\n", g.Database)
	}
	if len(g.Upstream) > 0 {
		fmt.Fprintf(&b, "  follows    %s\n", strings.Join(g.Upstream, ", "))
	}
	switch {
	case g.Password.file != "":
		fmt.Fprintf(&b, "\n  account    admin\n  password   in the file %s\n\n  Sign in, change the password, and delete the file.\n", g.Password.file)
	case g.Password.password != "":
		fmt.Fprintf(&b, "\n  account    admin\n  password   %s\n\n  The password is not shown again. Change it after signing in, or with\n  curfew user password admin\n", g.Password.password)
	case g.First:
		fmt.Fprintf(&b, "\n  account    admin, with the password from CURFEW_ADMIN_PASSWORD\n")
	}
	if g.Ignored {
		fmt.Fprintf(&b, "\n  %s\n", adminIgnored)
	}
	if g.Unused {
		b.WriteString("\n  No user has signed in yet. If the password of the account admin is lost, set a new one with\n  curfew user password admin\n")
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}
