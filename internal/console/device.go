package console

import "strings"

// The kinds of devices, each with an icon.
const (
	deviceDesktop = "desktop"
	deviceMobile  = "mobile" // a phone or a tablet
	deviceProgram = "program"
	deviceUnknown = ""
)

// device names the browser and system of a User-Agent, as in "Firefox on Linux", and
// its kind. It helps users to recognise their sessions and proves nothing: a client can
// send any text. It returns an unknown text unchanged.
func device(agent string) (name, kind string) {
	if agent == "" {
		return "Unknown device", deviceUnknown
	}
	browser, program := first(agent, browsers)
	system, mobile := first(agent, systems)
	switch {
	case mobile:
		kind = deviceMobile
	case program || !strings.HasPrefix(agent, "Mozilla/"): // as all browsers begin
		kind = deviceProgram
	case system != "":
		kind = deviceDesktop
	}
	switch {
	case browser == "" && system == "":
		return clip(agent, 60), kind
	case browser == "":
		return "A program on " + system, kind
	case system == "":
		return browser, kind
	}
	return browser + " on " + system, kind
}

// A mark is a part of a User-Agent and its meaning. It is special if it marks a program
// among the browsers, or a phone or a tablet among the systems.
type mark struct {
	in, name string
	special  bool
}

// Browsers claim to be their forebears: the youngest come first.
var browsers = []mark{
	{"Edg/", "Edge", false}, {"EdgA/", "Edge", false}, {"EdgiOS/", "Edge", false},
	{"OPR/", "Opera", false}, {"Vivaldi/", "Vivaldi", false}, {"SamsungBrowser/", "Samsung Internet", false},
	{"FxiOS/", "Firefox", false}, {"Firefox/", "Firefox", false},
	{"CriOS/", "Chrome", false}, {"HeadlessChrome/", "Chrome", false}, {"Chromium/", "Chromium", false}, {"Chrome/", "Chrome", false},
	{"Version/", "Safari", false},
	{"curfew-cli", "Curfew’s command line", true}, {"curl/", "curl", true}, {"Wget/", "Wget", true}, {"python-requests/", "Python", true}, {"Go-http-client/", "A Go program", true},
}

var systems = []mark{
	{"iPhone", "iPhone", true}, {"iPad", "iPad", true}, {"Android", "Android", true}, {"CrOS", "ChromeOS", false},
	{"Windows", "Windows", false}, {"Mac OS X", "macOS", false}, {"Macintosh", "macOS", false},
	{"Linux", "Linux", false}, {"FreeBSD", "FreeBSD", false}, {"OpenBSD", "OpenBSD", false},
}

func first(agent string, marks []mark) (name string, special bool) {
	for _, m := range marks {
		if strings.Contains(agent, m.in) {
			return m.name, m.special
		}
	}
	return "", false
}
