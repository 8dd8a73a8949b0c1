package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/settings"
)

// showSettings is GET /v1/settings/authentication.
func showSettings(c *call) error {
	in, tag, err := c.Sessions.Settings(c.ctx)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", tag)
	return c.json(http.StatusOK, wireform.Settings(in.Settings))
}

// changeSettings is PUT /v1/settings/authentication.
func changeSettings(c *call) error {
	dry, err := boolean(c.query, "dry_run")
	if err != nil {
		return err
	}
	var body wire.Settings
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	to, err := readSettings(body)
	if err != nil {
		return err
	}
	if dry {
		preview, err := c.Sessions.PreviewSettings(c.ctx, c.caller, to)
		if err != nil {
			return err
		}
		return c.json(http.StatusOK, wire.SettingsPreview{Sessions: preview.Sessions, Users: preview.Users, Own: preview.Own})
	}
	tag, err := c.ifMatch()
	if err != nil {
		return err
	}
	in, tag, err := c.Sessions.ChangeSettings(c.ctx, c.caller, to, tag)
	if err != nil {
		return err
	}
	c.w.Header().Set("ETag", tag)
	return c.json(http.StatusOK, wireform.Settings(in.Settings))
}

// ifMatch returns the entity tag that the change is meant for (RFC 9110, section
// 13.1.1). Of several, the one in force, if it is among them.
func (c *call) ifMatch() (string, error) {
	lines := c.r.Header.Values("If-Match")
	if len(lines) == 0 {
		return "", fmt.Errorf("%w: read the settings, then send the ETag of that response as If-Match", fault.ErrNeedsIfMatch)
	}
	var tags []string
	for tag := range list(strings.Join(lines, ",")) {
		tags = append(tags, strings.TrimSpace(tag))
	}
	if len(tags) == 1 {
		return tags[0], nil // a weak tag is never equal to a strong one
	}
	_, now, err := c.Sessions.Settings(c.ctx)
	if err != nil {
		return "", err
	}
	if slices.Contains(tags, now) {
		return now, nil
	}
	return "", fmt.Errorf("%w: read the settings again and repeat the change", session.ErrLostRace)
}

// readSettings returns the settings that a body asks for. All three members are
// required: a PUT replaces, and a default would be a value that the caller did not
// choose.
func readSettings(body wire.Settings) (settings.Settings, error) {
	to, missing := wireform.ReadSettings(body)
	var errs []error
	for _, field := range missing {
		errs = append(errs, settings.Violation{Field: field, Problem: "is required"})
	}
	return to, errors.Join(errs...)
}
