package follower

import (
	"log/slog"
	"net/http"
	"reflect"
	"testing"
	"time"

	"example.com/curfew/internal/upstream"
	"example.com/curfew/token"
)

// No field of Config is lost on the way, and no event's.
func TestConfigIsPassedOn(t *testing.T) {
	var got Event
	c := Config{
		Server: "a", Servers: []string{"b"}, ClientID: "c", ClientSecret: "d", Audience: "e",
		CacheSize: 1, SnapshotFile: "f", StartTimeout: 2, UnknownKeyInterval: 3,
		InsecureHTTP: true, HTTPClient: http.DefaultClient,
		Observe: func(token.Reason, time.Duration) {}, OnEvent: func(e Event) { got = e },
		Now: time.Now, Logger: slog.Default(),
	}
	given, passed := reflect.ValueOf(c), c.upstream()
	for i := range given.NumField() {
		name := given.Type().Field(i).Name
		if given.Field(i).IsZero() {
			t.Errorf("%s is not tried", name)
		}
		if f := reflect.ValueOf(passed).FieldByName(name); !f.IsValid() || f.IsZero() {
			t.Errorf("%s is not passed on", name)
		} else if kind := f.Kind(); kind != reflect.Func && kind != reflect.Slice && f.Interface() != given.Field(i).Interface() {
			t.Errorf("%s is passed on as %v, want %v", name, f, given.Field(i))
		}
	}
	for kind, want := range map[upstream.EventKind]EventKind{
		upstream.EventAnswered: EventAnswered, upstream.EventFailed: EventFailed,
		upstream.EventStartedOver: EventStartedOver, upstream.EventSavedFile: EventSavedFile,
	} {
		passed.OnEvent(upstream.Event{Kind: kind, Server: "s", Took: 4, Revocations: 5, Err: ErrIssuer})
		if got != (Event{want, "s", 4, 5, ErrIssuer}) {
			t.Errorf("the event %s is passed on as %+v", kind, got)
		}
	}
	if u := (&Config{}).upstream(); u.OnEvent != nil {
		t.Error("events are passed on to a function that is not set")
	}
}
