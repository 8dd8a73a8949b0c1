package console

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/curfew/internal/session"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// settingsPages are the settings that bind all sessions.
type settingsPages struct {
	sessions  *session.Service
	providers *providerPages
	minimum   time.Duration // the shortest session timeout that may be set
}

type settingsView struct {
	frame
	Form    settingsForm
	Tag     string          // of the settings that the form was filled from
	Lost    *settingsChange // the change that another user saved meanwhile; nil if none
	Bounds  settingsBounds
	Presets []presetView
	History []settingsChange
	SignIn  signInMethodsView
	Preview *settingsPreview
	Word    string // to be typed before saving ends all sessions, or all with remember me; "": none
}

// Typed returns the field for the word.
func (v settingsView) Typed() wordPart { return wordPart{v.Word, v.Errors["word"]} }

// settingsForm holds the values typed (see durationTyped), or those in force, in
// seconds.
type settingsForm struct {
	Timeout    string
	Maximum    string
	RememberMe bool
}

// Words returns the human reading of one of the fields; "" if it is no duration.
func (settingsForm) Words(typed string) string {
	d, ok := durationTyped(typed)
	if !ok {
		return ""
	}
	return duration(d)
}

type settingsBounds struct{ Min, Max string }

type presetView struct {
	Name, Words, Source          string
	Timeout, Maximum, RememberMe string
	Chosen                       bool // the form holds it
	InForce                      bool
}

// settingsPreview is what saving would do.
type settingsPreview struct {
	Lines    []string // what changes
	Sessions int64
	Users    int64
	Own      bool
}

var presetWords = map[string]string{"default": "Default", "aal2": "AAL2", "aal3": "AAL3"}

func (p *settingsPages) view(x *exchange, form settingsForm, tag string) (settingsView, error) {
	view := settingsView{
		frame:  x.frame("Authentication", "/settings/authentication", "Configuration", "Settings"),
		Form:   form,
		Tag:    tag,
		Bounds: settingsBounds{duration(p.minimum), duration(settings.MaxDuration)},
	}
	in, _, err := p.sessions.Settings(x.ctx)
	if err != nil {
		return view, err
	}
	for _, preset := range settings.Presets() {
		view.Presets = append(view.Presets, presetView{
			Name: preset.Name, Words: firstOf(presetWords[preset.Name], preset.Name), Source: upper(preset.Source),
			Timeout: duration(preset.Settings.SessionTimeout), Maximum: duration(preset.Settings.MaximumSessionDuration),
			RememberMe: onOff(preset.Settings.RememberMeEnabled), Chosen: form == formOf(preset.Settings), InForce: preset.Settings == in.Settings,
		})
	}
	if view.SignIn, err = p.providers.signInMethods(x); err != nil {
		return view, err
	}
	view.History, err = p.history(x, 0)
	return view, err
}

func formOf(s settings.Settings) settingsForm {
	return settingsForm{
		Timeout:    strconv.FormatInt(settings.Seconds(s.SessionTimeout), 10),
		Maximum:    strconv.FormatInt(settings.Seconds(s.MaximumSessionDuration), 10),
		RememberMe: s.RememberMeEnabled,
	}
}

// settings is the page as it is opened; ?preset= fills the form from a preset,
// and nothing is changed yet.
func (p *settingsPages) settings(x *exchange) error {
	in, tag, err := p.sessions.Settings(x.ctx)
	if err != nil {
		return err
	}
	form := formOf(in.Settings)
	if x.r.URL.Query().Has(settings.FieldSessionTimeout) {
		form, _, _ = p.typed(x) // back from the preview
	}
	if preset, ok := settings.PresetNamed(x.r.URL.Query().Get("preset")); ok {
		form = formOf(preset.Settings)
	}
	view, err := p.view(x, form, tag)
	if err != nil {
		return err
	}
	return x.ok("settings", view)
}

// typed reads the form. It reports values that are no whole numbers, by
// field; package settings checks the rest.
func (p *settingsPages) typed(x *exchange) (form settingsForm, to settings.Settings, wrong map[string]string) {
	form = settingsForm{
		Timeout:    x.text(settings.FieldSessionTimeout),
		Maximum:    x.text(settings.FieldMaximumSessionDuration),
		RememberMe: x.value(settings.FieldRememberMeEnabled) != "",
	}
	wrong = map[string]string{}
	read := func(field, typed string) time.Duration {
		d, ok := durationTyped(typed)
		if !ok {
			wrong[field] = "Enter a duration such as 20m, 12h or 20d, or a number of seconds."
		}
		return d
	}
	to = settings.Settings{
		SessionTimeout:         read(settings.FieldSessionTimeout, form.Timeout),
		MaximumSessionDuration: read(settings.FieldMaximumSessionDuration, form.Maximum),
		RememberMeEnabled:      form.RememberMe,
	}
	for _, v := range to.Violations(p.minimum) {
		if wrong[v.Field] == "" {
			wrong[v.Field] = inUnits(upper(v.Problem)) + "."
		}
	}
	return form, to, wrong
}

// preview shows what saving would do. It changes nothing: it may be
// loaded as often as one likes.
func (p *settingsPages) preview(x *exchange) error {
	return p.decide(x, func(form settingsForm, to settings.Settings, in settings.InForce, tag string) error {
		view, err := p.previewed(x, form, to, in, tag)
		if err != nil {
			return err
		}
		if len(view.Preview.Lines) == 0 {
			return x.redirect("/settings/authentication", "done", "unchanged")
		}
		return x.ok("settings-preview", view)
	})
}

func (p *settingsPages) previewed(x *exchange, form settingsForm, to settings.Settings, in settings.InForce, tag string) (settingsView, error) {
	effect, err := p.sessions.PreviewSettings(x.ctx, x.caller, to)
	if err != nil {
		return settingsView{}, err
	}
	live, err := p.sessions.CountLive(x.ctx, x.caller, "", "")
	if err != nil {
		return settingsView{}, err
	}
	view := settingsView{
		frame:   x.frame("Save these settings?", "/settings/authentication", "Configuration", "Settings", "Authentication"),
		Form:    form,
		Tag:     tag,
		Preview: &settingsPreview{Lines: difference(in.Settings, to), Sessions: effect.Sessions, Users: effect.Users, Own: effect.Own},
	}
	switch {
	case effect.Sessions == 0:
	case effect.Sessions >= live.Sessions:
		view.Word = bulkWord(string(revocation.KindEveryone))
	case in.RememberMeEnabled && !to.RememberMeEnabled:
		view.Word = bulkWord(string(revocation.KindRemembered))
	}
	return view, nil
}

// save saves the previewed settings, unless another user saved a change
// meanwhile.
func (p *settingsPages) save(x *exchange) error {
	return p.decide(x, func(form settingsForm, to settings.Settings, in settings.InForce, tag string) error {
		view, err := p.previewed(x, form, to, in, tag)
		if err != nil {
			return err
		}
		if view.Errors = x.wordErrors(view.Word); len(view.Errors) > 0 {
			return x.refusedForm("settings-preview", view)
		}
		_, _, err = p.sessions.ChangeSettings(x.ctx, x.caller, to, tag)
		if errors.Is(err, session.ErrLostRace) {
			return p.lostRace(x, form, tag)
		}
		if err != nil {
			return err
		}
		return x.redirect("/settings/authentication", "done", "settings")
	})
}

// decide reads the form, and continues if it is valid and was filled from
// the settings now in force.
func (p *settingsPages) decide(x *exchange, next func(form settingsForm, to settings.Settings, in settings.InForce, tag string) error) error {
	form, to, wrong := p.typed(x)
	in, now, err := p.sessions.Settings(x.ctx)
	if err != nil {
		return err
	}
	tag := firstOf(x.value("tag"), now)
	if len(wrong) > 0 {
		view, err := p.view(x, form, tag)
		if err != nil {
			return err
		}
		view.Errors = wrong
		return x.refusedForm("settings", view)
	}
	if tag != now {
		return p.lostRace(x, form, tag)
	}
	return next(form, to, in, tag)
}

// lostRace shows who changed which settings since the form was filled, keeps the
// values typed, and lets the user decide again with the settings now in force.
func (p *settingsPages) lostRace(x *exchange, form settingsForm, tag string) error {
	_, now, err := p.sessions.Settings(x.ctx)
	if err != nil {
		return err
	}
	view, err := p.view(x, form, now)
	if err != nil {
		return err
	}
	epoch, _ := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64)
	since, err := p.history(x, epoch)
	if err != nil {
		return err
	}
	lost := settingsChange{By: "Another user", Lines: []string{"See the history below."}}
	if len(since) > 0 {
		lost = since[0]
	}
	view.Lost = &lost
	return x.render(http.StatusConflict, "settings", view)
}

// Again is the address of the form as it was typed.
func (v settingsView) Again() string {
	q := url.Values{
		settings.FieldSessionTimeout:         {v.Form.Timeout},
		settings.FieldMaximumSessionDuration: {v.Form.Maximum},
	}
	if v.Form.RememberMe {
		q.Set(settings.FieldRememberMeEnabled, "on")
	}
	return "/settings/authentication?" + q.Encode()
}
