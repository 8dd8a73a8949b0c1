package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/token"
)

func (c *cli) tokenCommand() *cobra.Command {
	command := c.group("token", "Issue and inspect tokens", "token starts sessions for tests and emergencies, and explains tokens.")
	command.AddCommand(c.tokenIssue(), c.tokenInspect())
	return command
}

func (c *cli) tokenIssue() *cobra.Command {
	var rememberMe bool
	command := &cobra.Command{
		Use: "issue NAME", Short: "Start a session of a user and print its token", Args: arguments("NAME"),
		Long: "Starts a session of a user without a password and prints only its token. NAME is a name or an id; if it could be either, write name:NAME or id:ID. " +
			"The session counts as authenticated now, for changes that ask for a recent authentication (serve --reauthenticate-within).",
		Example: "  curl -H \"Authorization: Bearer $(curfew token issue alice)\" http://127.0.0.1:8420/v1/session",
	}
	c.tool(command, func(ctx context.Context, t *app.Tools, args []string) error {
		u, err := t.Accounts.FindUser(ctx, args[0])
		if err != nil {
			return err
		}
		sessions, err := t.Issuer(ctx)
		if err != nil {
			return err
		}
		issued, err := sessions.Issue(ctx, t.Caller, u.ID, rememberMe, authz.Origin{Device: "curfew token issue"})
		if err != nil {
			return err
		}
		if rememberMe && !issued.Session.RememberMe {
			c.notef("remember me is off: this is an ordinary session")
		}
		if c.json {
			return c.printJSON(wireform.Issued(issued))
		}
		c.printf("%s\n", issued.Token)
		return nil
	})
	command.Flags().BoolVar(&rememberMe, "remember-me", false, "start a remember-me session")
	return command
}

// wireExplanation is an explanation as programs get it.
type wireExplanation struct {
	Good        bool          `json:"good"`
	Reason      string        `json:"reason"` // "" if it is good
	Proven      bool          `json:"proven"`
	KeyID       string        `json:"key_id"`
	LeftSeconds int64         `json:"left_seconds"`
	Session     *wireClaims   `json:"session"`
	Findings    []wireFinding `json:"findings"`
}

type wireClaims struct {
	Issuer      string    `json:"issuer"`
	Audience    []string  `json:"audience"`
	Subject     string    `json:"subject"`
	ID          string    `json:"id"`
	IssuedAt    time.Time `json:"issued_at"`
	LastRefresh time.Time `json:"last_refresh"`
	RememberMe  bool      `json:"remember_me"`
	Epoch       int64     `json:"epoch"`
	ExpiresAt   time.Time `json:"expires_at"`
	Name        string    `json:"name,omitempty"`
	Email       string    `json:"email,omitempty"`
	Groups      []string  `json:"groups,omitempty"`
	Omitted     bool      `json:"identity_omitted,omitempty"`

	AuthTime      *time.Time `json:"auth_time,omitempty"`
	ACR           string     `json:"acr,omitempty"`
	SessionExpiry *time.Time `json:"session_expiry,omitempty"`
}

type wireFinding struct {
	Rule        string `json:"rule"`
	Outcome     string `json:"outcome"`
	Reason      string `json:"reason,omitempty"`
	Detail      string `json:"detail"`
	LeftSeconds int64  `json:"left_seconds,omitempty"`
}

func wireExplanationOf(e token.Explanation) wireExplanation {
	w := wireExplanation{
		Good: e.Verdict == "", Reason: string(e.Verdict), Proven: e.Proven, KeyID: e.KeyID,
		LeftSeconds: int64(e.Left() / time.Second), Findings: []wireFinding{},
	}
	if s := e.Session; s != nil {
		w.Session = &wireClaims{
			Issuer: s.Issuer, Audience: s.Audience, Subject: s.Subject, ID: s.ID,
			IssuedAt: s.IssuedAt.Time(), LastRefresh: s.LastRefresh.Time(), RememberMe: s.RememberMe,
			Epoch: int64(s.Epoch), ExpiresAt: s.ExpiresAt.Time(),
			Name: s.Name, Email: s.Email, Groups: s.Groups, Omitted: s.IdentityOmitted,
			AuthTime: wireform.OptionalDate(s.AuthTime), ACR: s.ACR, SessionExpiry: wireform.OptionalDate(s.SessionExpiry),
		}
	}
	for _, f := range e.Findings {
		w.Findings = append(w.Findings, wireFinding{f.Rule, string(f.Outcome), string(f.Reason), f.Detail, int64(f.Left / time.Second)})
	}
	return w
}

func (c *cli) tokenInspect() *cobra.Command {
	var audience string
	command := &cobra.Command{
		Use: "inspect [TOKEN]", Short: "Explain a token: the outcome of each rule and the time left",
		Long: "Explains a token with the current state of the database. Without TOKEN, or with -, it is read from standard input, where other users of the machine can't see it.\n\n" +
			"The exit code is 0 if the token is valid now, else 1.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("unexpected argument %q: a token is one word", args[1])
			}
			return nil
		},
	}
	c.tool(command, func(ctx context.Context, t *app.Tools, args []string) error {
		raw, err := c.trimmed(args, "the token")
		if err != nil {
			return err
		}
		if scheme, rest, _ := strings.Cut(raw, " "); strings.EqualFold(scheme, "bearer") {
			raw = strings.TrimSpace(rest) // copied with its header
		}
		e, err := t.Explain(ctx, raw, audience)
		if err != nil {
			return err
		}
		if c.json {
			err = c.printJSON(wireExplanationOf(e))
		} else {
			err = c.printExplanation(ctx, t, raw, e)
		}
		if err == nil && e.Verdict != "" {
			return errSilent
		}
		return err
	})
	command.Flags().StringVar(&audience, "audience", "", "audience that the token must have; the default is the installation's first")
	return command
}

func (c *cli) printExplanation(ctx context.Context, t *app.Tools, raw string, e token.Explanation) error {
	out := newTable(c.stdout)
	if e.Verdict == "" {
		out.row("verdict", "valid for another "+left(e.Left()))
	} else {
		out.row("verdict", "refused: "+string(e.Verdict))
	}
	if s := e.Session; s != nil {
		if !e.Proven {
			out.row("", "the values below are not proven: the token may be forged")
		}
		user := s.Subject
		if u, err := t.Store.User(ctx, s.Subject); err == nil && e.Proven {
			user = u.Name + " (" + s.Subject + ")"
		}
		out.row("user", user)
		out.row("session", s.ID)
		out.row("started", date(s.IssuedAt.Time()))
		out.row("last refresh", date(s.LastRefresh.Time()))
		out.row("remember me", yesNo(s.RememberMe))
		if s.AuthTime != 0 {
			out.row("authenticated", date(s.AuthTime.Time()))
		}
		if s.ACR != "" {
			out.row("acr", s.ACR)
		}
		if s.SessionExpiry != 0 {
			out.row("ends at the latest", date(s.SessionExpiry.Time()))
		}
		if e.Verdict == "" {
			out.row("ends", date(e.At.Add(e.Left()).Round(time.Second))+endedBy(e))
		}
		printIdentity(out, s)
	}
	if err := out.flush(); err != nil {
		return err
	}
	c.printf("\n")
	if why := notAToken(raw); why != "" {
		c.printf("%s\n", why)
		return nil
	}
	out = newTable(c.stdout, "RULE", "OUTCOME", "BECAUSE")
	for _, f := range e.Findings {
		out.row(strings.ReplaceAll(f.Rule, "_", " "), string(f.Outcome), f.Detail)
	}
	return out.flush()
}

// endedBy says what ends a valid session if nothing changes. A refresh puts off the
// session timeout and the end that is written in the token.
func endedBy(e token.Explanation) string {
	for _, f := range e.Findings {
		if f.Left != e.Left() {
			continue
		}
		switch f.Rule {
		case string(token.ErrMaximumDuration):
			return ", by the maximum session duration"
		case string(token.ErrIdleTimeout):
			return ", by the session timeout, unless it is refreshed"
		case string(token.ErrExpired):
			return ", by the end in the token, unless it is refreshed"
		}
	}
	return ""
}

// notAToken explains what programs send in place of a token that they do not have.
// It returns "" for everything else.
func notAToken(raw string) string {
	switch word := strings.Trim(raw, `"'`); word {
	case "":
		return "There is no token: the text is empty. Check how the program reads the token, and whether the sign-in succeeded."
	case "null", "undefined", "None", "nil", "NaN", "[object Object]", "[object Promise]":
		return fmt.Sprintf("This is the text %s, not a token: the program had no token when it built the request. "+
			"Check how the program reads the token, and whether the sign-in succeeded.", word)
	}
	return ""
}

// printIdentity adds the optional claims that the token carries. They are what the
// store said when it was minted.
func printIdentity(out *table, s *token.Session) {
	if s.Name != "" {
		out.row("name", s.Name)
	}
	if s.Email != "" {
		out.row("email", s.Email)
	}
	if s.Groups != nil {
		out.row("groups", strings.Join(s.Groups, ", "))
	}
	if s.IdentityOmitted {
		out.row("", "the token leaves out claims of the user for want of room")
	}
}

// left shows how long something lasts: in whole seconds.
func left(d time.Duration) string { return config.FormatDuration(d.Truncate(time.Second)) }
