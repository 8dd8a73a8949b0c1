package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

func typed(timeout, maximum string, remember bool) []string {
	fields := []string{"session_timeout_seconds", timeout, "maximum_session_duration_seconds", maximum}
	if remember {
		fields = append(fields, "remember_me_enabled", "on")
	}
	return fields
}

func query(fields []string) string {
	q := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		q.Set(fields[i], fields[i+1])
	}
	return "?" + q.Encode()
}

// A change of settings, from the form by way of the preview until it is in force.
func TestSettings(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	form := p.get("/settings/authentication").is(http.StatusOK).says("Session timeout", "— 20 minutes", "— 20 days", "No changes yet")
	if form.input("session_timeout_seconds") != "1200" || form.input("maximum_session_duration_seconds") != "1728000" || !strings.Contains(form.body, `name="remember_me_enabled" value="on" checked`) {
		t.Fatal("the form does not show the settings in force")
	}
	preview := p.get("/settings/authentication/preview" + query(append(typed("1800", "1728000", true), "tag", form.input("tag")))).is(http.StatusOK)
	preview.says("Session timeout: 20 minutes → 30 minutes", "This ends no live session.").saysNot("Maximum session duration:", "Remember me:")
	if got := s.node.Settings().Current().SessionTimeout; got != 20*time.Minute {
		t.Fatalf("a preview has set %v", got)
	}
	done := p.post("/settings/authentication", append(typed("1800", "1728000", true), "tag", preview.input("tag"))...).to("/settings/authentication")
	if got := s.node.Settings().Current().SessionTimeout; got != 30*time.Minute {
		t.Errorf("in force: %v, want 30 minutes", got)
	}
	p.get(done.location).is(http.StatusOK).says("Settings saved.", "— 30 minutes", "History", "by admin", "Session timeout: 20 minutes → 30 minutes")
	p.get("/settings/authentication/preview" + query(typed("1800", "1728000", true))).to("/settings/authentication")
}

// Durations are understood as people type them.
func TestSettingsWithUnits(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	fields := typed("20m 30s", "1 day 2 hours", true)
	preview := p.get("/settings/authentication/preview" + query(fields)).is(http.StatusOK)
	preview.says("Session timeout: 20 minutes → 20 minutes 30 seconds", "Maximum session duration: 20 days → 1 day 2 hours")
	p.post("/settings/authentication", append(fields, "tag", preview.input("tag"))...).to("/settings/authentication")
	if got := s.node.Settings().Current(); got.SessionTimeout != 20*time.Minute+30*time.Second || got.MaximumSessionDuration != 26*time.Hour {
		t.Errorf("in force: %v", got.Settings)
	}
	p.get("/settings/authentication?session_timeout_seconds=90m&maximum_session_duration_seconds=12h").says("— 1 hour 30 minutes", "— 12 hours")
}

// The preview counts what would end, and says whether one's own session does.
func TestSettingsPreview(t *testing.T) {
	s := open(t)
	other := s.user("other")
	s.issue(other, true)
	s.issue(other, false)
	s.issue(other, false)
	s.wait(10 * time.Minute)
	p := s.as(s.admin)
	for _, tt := range []struct {
		what             string
		timeout, longest string
		remember         bool
		says             []string
	}{
		{"nothing ends", "1100", "1728000", true, []string{"This ends no live session."}},
		{"two have been idle for longer", "540", "1728000", true, []string{"This ends 2 live sessions of 1 user. Your own session is not affected."}},
		{"all of the other are too old", "540", "540", true, []string{"This ends 3 live sessions of 1 user"}},
		{"remembered ones end when it is switched off", "1200", "1728000", false, []string{"Remember me: on → off", "This ends 1 live session of 1 user"}},
	} {
		p.get("/settings/authentication/preview" + query(typed(tt.timeout, tt.longest, tt.remember))).is(http.StatusOK).says(tt.says...)
	}
	s.wait(4 * time.Minute)
	p.get("/settings/authentication/preview" + query(typed("120", "1728000", true))).is(http.StatusOK).says("This ends 3 live sessions of 2 users. This includes your own session: you are signed out here.")
	old := p.token
	p.post("/settings/authentication", typed("120", "1728000", true)...).to("/settings/authentication")
	if got := s.reason(old); got != token.ErrIdleTimeout {
		t.Errorf("one's own session: %q, want %q", got, token.ErrIdleTimeout)
	}
}

// Everything that is wrong is said at once, and what was typed is kept.
func TestSettingsWrong(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	for _, tt := range []struct {
		timeout, maximum string
		says             []string
	}{
		{"59", "34560001", []string{"59 seconds is too short", "400 days 1 second is too long; the maximum is 400 days."}},
		{"59s", "401d", []string{"59 seconds is too short", "401 days is too long; the maximum is 400 days."}},
		{"x", "", []string{"Enter a duration such as 20m, 12h or 20d, or a number of seconds."}},
		{"20m20m", "20 dogs", []string{"Enter a duration"}},
		{"1e3", "1728000", []string{"Enter a duration"}},
		{"99999999999999999999", "-5", []string{"Enter a duration"}},
		{"1200.5", "1728000", []string{"Enter a duration"}},
		{"3600", "600", []string{"10 minutes is shorter than the session timeout of 1 hour"}},
		{"<script>alert(1)</script>", `"><b>`, []string{"Enter a duration"}},
	} {
		fields := typed(tt.timeout, tt.maximum, false)
		for _, a := range []answer{
			p.get("/settings/authentication/preview" + query(fields)),
			p.post("/settings/authentication", fields...),
		} {
			a.is(http.StatusUnprocessableEntity).says(tt.says...).says("Nothing was changed")
			if a.input("session_timeout_seconds") != tt.timeout || a.input("maximum_session_duration_seconds") != tt.maximum || strings.Contains(a.body, `name="remember_me_enabled" value="on" checked`) {
				t.Errorf("%q, %q came back as %q, %q", tt.timeout, tt.maximum, a.input("session_timeout_seconds"), a.input("maximum_session_duration_seconds"))
			}
		}
	}
	if got := s.node.Settings().Current().Settings; got != settings.Default() {
		t.Errorf("in force: %v", got)
	}
}

// Two administrators at once: the slower one learns who did what, keeps what was
// typed, and can save it over that.
func TestSettingsLostRace(t *testing.T) {
	s := open(t)
	slow, fast := s.as(s.admin), s.as(s.user("Fast Fred", store.AdministerSystem))
	form := slow.get("/settings/authentication").is(http.StatusOK)
	fast.post("/settings/authentication", typed("600", "1728000", true)...).to("/settings/authentication")
	fast.post("/settings/authentication", typed("660", "1728000", true)...).to("/settings/authentication")
	fields := append(typed("1800", "86400", false), "tag", form.input("tag"))
	for _, a := range []answer{
		slow.get("/settings/authentication/preview" + query(fields)),
		slow.post("/settings/authentication", fields...),
	} {
		a.is(http.StatusConflict).says("The settings changed while you edited them. Fast Fred changed the settings", "Session timeout: 10 minutes → 11 minutes")
		if a.input("session_timeout_seconds") != "1800" || a.input("maximum_session_duration_seconds") != "86400" {
			t.Error("what was typed is gone")
		}
		if got := s.node.Settings().Current().SessionTimeout; got != 11*time.Minute {
			t.Fatalf("in force: %v", got)
		}
		form = a
	}
	slow.post("/settings/authentication", append(typed("1800", "86400", false), "tag", form.input("tag"))...).to("/settings/authentication")
	if got := s.node.Settings().Current().Settings; got.SessionTimeout != 30*time.Minute || got.RememberMeEnabled {
		t.Errorf("in force: %v", got)
	}
}

func TestPresets(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	p.get("/settings/authentication").says("Timeout 1 hour", "Maximum 1 day", "Remember me off", "NIST SP 800-63B-4 AAL2", "Default In force").saysNot("AAL2 In", "In the form")
	p.get("/settings/authentication?preset=aal2").says("Default In force", "AAL2 In the form")
	p.get("/settings/authentication?session_timeout_seconds=60&maximum_session_duration_seconds=600").says("Default In force").saysNot("In the form")
	for name, want := range map[string][3]string{
		"default": {"1200", "1728000", "checked"}, "aal2": {"3600", "86400", ""}, "aal3": {"900", "43200", ""}, "nonsense": {"1200", "1728000", "checked"},
	} {
		a := p.get("/settings/authentication?preset=" + name).is(http.StatusOK)
		if a.input("session_timeout_seconds") != want[0] || a.input("maximum_session_duration_seconds") != want[1] ||
			strings.Contains(a.body, `name="remember_me_enabled" value="on" checked`) != (want[2] != "") {
			t.Errorf("preset %s: %s, %s", name, a.input("session_timeout_seconds"), a.input("maximum_session_duration_seconds"))
		}
	}
	if got, _, err := s.sessions.Settings(context.Background()); err != nil || got.Settings != settings.Default() {
		t.Errorf("a preset was set: %v, %v", got, err)
	}
}

// Settings that end all sessions, or all with remember me, are saved with a word that
// was typed. Others need none.
func TestSettingsThatEndAllAskForAWord(t *testing.T) {
	s := open(t)
	other := s.user("other")
	remembered := s.issue(other, true)
	p := s.as(s.admin)
	save := func(timeout, maximum string, remember bool, word string) answer {
		t.Helper()
		return p.post("/settings/authentication", append(typed(timeout, maximum, remember), "word", word)...)
	}
	before := s.node.Settings().Current().Settings
	p.get("/settings/authentication/preview" + query(typed("1200", "1728000", false))).is(http.StatusOK).says("Type remember me to confirm")
	for _, word := range []string{"", "everyone"} {
		save("1200", "1728000", false, word).is(http.StatusUnprocessableEntity).says("Type “remember me” to confirm.", "Save these settings?", "Remember me: on → off")
	}
	s.wait(2 * time.Minute) // longer than both limits below
	if a := save("60", "60", true, ""); !strings.Contains(a.text(), "Type “everyone” to confirm.") {
		t.Errorf("what ends all sessions: %d %s", a.status, a.text())
	}
	if after := s.node.Settings().Current().Settings; after != before || s.reason(remembered) != "" {
		t.Errorf("without the word, in force: %v", after)
	}
	p.get("/settings/authentication/preview" + query(typed("1100", "1728000", true))).is(http.StatusOK).saysNot("to confirm")
	save("1200", "1728000", false, "Remember Me").to("/settings/authentication")
	if s.reason(remembered) == "" {
		t.Error("the session with remember me goes on")
	}
}
