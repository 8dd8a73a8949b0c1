package console

import "strings"

// device names the browser and system of a User-Agent, as in "Firefox on Linux". It
// helps users to recognise their sessions and proves nothing: a client can send any
// text. It returns an unknown text unchanged.
func device(agent string) string {
	if agent == "" {
		return "Unknown device"
	}
	browser := first(agent, browsers)
	system := first(agent, systems)
	switch {
	case browser == "" && system == "":
		return clip(agent, 60)
	case browser == "":
		return "A program on " + system
	case system == "":
		return browser
	}
	return browser + " on " + system
}

type mark struct{ in, name string }

// Browsers claim to be their forebears: the youngest come first.
var browsers = []mark{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"},
	{"OPR/", "Opera"}, {"Vivaldi/", "Vivaldi"}, {"SamsungBrowser/", "Samsung Internet"},
	{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"},
	{"CriOS/", "Chrome"}, {"HeadlessChrome/", "Chrome"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"},
	{"Version/", "Safari"},
	{"curl/", "curl"}, {"Wget/", "Wget"}, {"python-requests/", "Python"}, {"Go-http-client/", "A Go program"},
}

var systems = []mark{
	{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"},
	{"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Macintosh", "macOS"},
	{"Linux", "Linux"}, {"FreeBSD", "FreeBSD"}, {"OpenBSD", "OpenBSD"},
}

func first(agent string, marks []mark) string {
	for _, m := range marks {
		if strings.Contains(agent, m.in) {
			return m.name
		}
	}
	return ""
}
