package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/settings"
)

func (c *cli) settingsCommand() *cobra.Command {
	command := c.group("settings", "Session timeout, maximum session duration, remember me",
		"settings shows and changes session timeout, maximum session duration and remember me. A change applies to all sessions, including existing ones.")
	command.AddCommand(c.settingsShow(), c.settingsSet())
	return command
}

func (c *cli) printSettings(s settings.Settings) error {
	if c.json {
		return c.printJSON(wireform.Settings(s))
	}
	t := newTable(c.stdout)
	t.row("session timeout", config.FormatDuration(s.SessionTimeout))
	t.row("maximum session duration", config.FormatDuration(s.MaximumSessionDuration))
	t.row("remember me", onOff(s.RememberMeEnabled))
	for _, p := range settings.Presets() {
		if p.Settings == s {
			t.row("preset", fmt.Sprintf("%s (%s)", p.Name, p.Source))
		}
	}
	return t.flush()
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (c *cli) settingsShow() *cobra.Command {
	command := &cobra.Command{Use: "show", Short: "Show the settings in force", Args: arguments()}
	return c.admin(command, func(ctx context.Context, t admin, _ []string) error {
		in, _, err := t.Settings(ctx)
		if err != nil {
			return err
		}
		return c.printSettings(in)
	})
}

// settingsFlags are the flags of a change of settings.
type settingsFlags struct {
	preset           string
	timeout, maximum time.Duration
	rememberMe       string
	dryRun           bool
}

func (c *cli) settingsSet() *cobra.Command {
	var f settingsFlags
	command := &cobra.Command{
		Use: "set", Short: "Change the settings", Args: arguments(),
		Long: "Changes the given settings and leaves the others. A preset sets all three; other flags override it.\n\n" + presetsHelp(),
		Example: "  curfew settings set --session-timeout 15m --dry-run\n" +
			"  curfew settings set --preset aal2\n" +
			"  curfew settings set --maximum-session-duration 30d --remember-me on",
	}
	c.admin(command, func(ctx context.Context, t admin, _ []string) error {
		in, tag, err := t.Settings(ctx)
		if err != nil {
			return err
		}
		next, err := f.apply(command, in)
		if err != nil {
			return err
		}
		if f.dryRun {
			return f.named(c.previewSettings(ctx, t, next), command)
		}
		if next == in {
			c.notef("no change: these settings are already in force")
			return c.printSettings(next)
		}
		after, err := t.ChangeSettings(ctx, next, tag)
		if errors.Is(err, session.ErrLostRace) {
			return fmt.Errorf("the settings were changed at the same time; nothing was changed by this command; check `curfew settings show` and try again")
		}
		if err != nil {
			return f.named(err, command)
		}
		return c.printSettings(after)
	})
	command.Flags().StringVar(&f.preset, "preset", "", "set all three: "+strings.Join(presetNames(), ", "))
	durationVar(command, &f.timeout, "session-timeout", "session timeout: a session ends after this time without activity")
	durationVar(command, &f.maximum, "maximum-session-duration", "maximum session duration: every session ends after this time")
	command.Flags().StringVar(&f.rememberMe, "remember-me", "", "on or off; off ends all remember-me sessions")
	command.Flags().BoolVar(&f.dryRun, "dry-run", false, "change nothing, and show how many sessions the change would end")
	return command
}

func presetNames() []string {
	var names []string
	for _, p := range settings.Presets() {
		names = append(names, p.Name)
	}
	return names
}

func presetsHelp() string {
	var b strings.Builder
	t := newTable(&b, "PRESET", "SESSION TIMEOUT", "MAXIMUM", "REMEMBER ME", "FROM")
	for _, p := range settings.Presets() {
		t.row(p.Name, config.FormatDuration(p.Settings.SessionTimeout), config.FormatDuration(p.Settings.MaximumSessionDuration), onOff(p.Settings.RememberMeEnabled), p.Source)
	}
	_ = t.flush() // a strings.Builder never fails
	return b.String()
}

// apply returns the settings after the change.
func (f *settingsFlags) apply(command *cobra.Command, s settings.Settings) (settings.Settings, error) {
	given := command.Flags().Changed
	if !given("preset") && !given("session-timeout") && !given("maximum-session-duration") && !given("remember-me") {
		return s, usagef("nothing to change; give --preset, --session-timeout, --maximum-session-duration or --remember-me")
	}
	if given("preset") {
		p, ok := settings.PresetNamed(f.preset)
		if !ok {
			return s, usagef("there is no preset %q; use one of %s", f.preset, strings.Join(presetNames(), ", "))
		}
		s = p.Settings
	}
	if given("session-timeout") {
		s.SessionTimeout = f.timeout
	}
	if given("maximum-session-duration") {
		s.MaximumSessionDuration = f.maximum
	}
	if given("remember-me") {
		switch strings.ToLower(f.rememberMe) {
		case "on", "true", "yes":
			s.RememberMeEnabled = true
		case "off", "false", "no":
			s.RememberMeEnabled = false
		default:
			return s, usagef("--remember-me is %q; use on or off", f.rememberMe)
		}
	}
	return s, nil
}

// named returns an error about settings out of bounds with the flags that were typed, in
// place of the names that the API has for them. Other errors stay as they are.
func (f *settingsFlags) named(err error, command *cobra.Command) error {
	var named []error
	for _, v := range violations(err) {
		switch {
		case v.Field != settings.FieldMaximumSessionDuration:
			named = append(named, fmt.Errorf("--session-timeout: %s", v.Problem))
		case command.Flags().Changed("maximum-session-duration"):
			named = append(named, fmt.Errorf("--maximum-session-duration: %s", v.Problem))
		default: // only the other flag can have made the maximum the shorter one
			named = append(named, fmt.Errorf("--session-timeout: %s is longer than the maximum session duration; raise that too, with --maximum-session-duration",
				config.FormatDuration(f.timeout)))
		}
	}
	if len(named) == 0 {
		return err
	}
	return errors.Join(named...)
}

// violations returns the settings out of bounds that an error is about, as the service
// here or a server reports them.
func violations(err error) []settings.Violation {
	var found []settings.Violation
	if answer, ok := errors.AsType[*apiError](err); ok {
		for _, e := range answer.Errors {
			found = append(found, settings.Violation{Field: e.Field, Problem: e.Detail})
		}
		return found
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok { // it is about the joined errors themselves
		for _, one := range all.Unwrap() {
			if v, ok := errors.AsType[settings.Violation](one); ok {
				found = append(found, v)
			}
		}
	}
	return found
}

func (c *cli) previewSettings(ctx context.Context, t admin, next settings.Settings) error {
	preview, err := t.PreviewSettings(ctx, next)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(wire.SettingsPreview{Sessions: preview.Sessions, Users: preview.Users, Own: preview.Own})
	}
	if err := c.printSettings(next); err != nil {
		return err
	}
	c.printf("\nnothing was changed; this would end %d live sessions of %d users\n", preview.Sessions, preview.Users)
	return nil
}
