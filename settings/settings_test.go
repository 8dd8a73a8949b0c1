package settings

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"
)

func TestBounds(t *testing.T) {
	const day = 24 * time.Hour
	timeout, maximum := FieldSessionTimeout, FieldMaximumSessionDuration
	for _, test := range []struct {
		name    string
		s       Settings
		minimum time.Duration
		want    []string // the fields in violation, in their order
	}{
		{"default", Default(), 0, nil},
		{"timeout just below the least", Settings{59 * time.Second, day, true}, 0, []string{timeout}},
		{"timeout at the least", Settings{60 * time.Second, day, true}, 0, nil},
		{"timeout just above the least", Settings{61 * time.Second, day, true}, 0, nil},
		{"both at the least", Settings{60 * time.Second, 60 * time.Second, true}, 0, nil},
		{"both below the least", Settings{59 * time.Second, 59 * time.Second, true}, 0, []string{timeout, maximum}},
		{"maximum just below the timeout", Settings{time.Hour, time.Hour - time.Second, true}, 0, []string{maximum}},
		{"maximum at the timeout", Settings{time.Hour, time.Hour, true}, 0, nil},
		{"maximum just above the timeout", Settings{time.Hour, time.Hour + time.Second, true}, 0, nil},
		{"maximum just below the most", Settings{time.Hour, 400*day - time.Second, true}, 0, nil},
		{"maximum at the most", Settings{time.Hour, 400 * day, true}, 0, nil},
		{"maximum just above the most", Settings{time.Hour, 400*day + time.Second, true}, 0, []string{maximum}},
		{"both at the most", Settings{400 * day, 400 * day, true}, 0, nil},
		{"both above the most", Settings{400*day + time.Second, 400*day + time.Second, true}, 0, []string{timeout, maximum}},
		{"zero", Settings{}, 0, []string{timeout, maximum}},
		{"negative", Settings{-time.Hour, -2 * time.Hour, true}, 0, []string{timeout, maximum, maximum}},
		{"everything at once", Settings{401 * day, 1, true}, 0, []string{timeout, maximum, maximum}},
		{"a fraction of a second", Settings{90*time.Second + 1, day + time.Millisecond, true}, 0, []string{timeout, maximum}},
		{"short, for development", Settings{time.Second, 2 * time.Second, true}, InsecureMinimum, nil},
		{"too short even so", Settings{0, 2 * time.Second, true}, InsecureMinimum, []string{timeout}},
		{"numbers that would wrap", Settings{FromSeconds(math.MaxInt64), FromSeconds(math.MinInt64), true}, 0, []string{timeout, maximum, maximum}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, v := range test.s.Violations(test.minimum) {
				got = append(got, v.Field)
				if v.Problem == "" {
					t.Errorf("no word about what is wrong with %s", v.Field)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Fatalf("violations of %v, want %v", got, test.want)
			}
			err := test.s.Validate(test.minimum)
			if (err == nil) != (test.want == nil) || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("Validate = %v", err)
			}
			var v Violation
			if err != nil && (!errors.As(err, &v) || v.Field != test.want[0]) {
				t.Errorf("Validate = %v, want a violation of %s", err, test.want[0])
			}
		})
	}
}

func TestPresets(t *testing.T) {
	want := map[string]Settings{
		"default": {20 * time.Minute, 20 * 24 * time.Hour, true},
		"aal2":    {time.Hour, 24 * time.Hour, false},
		"aal3":    {15 * time.Minute, 12 * time.Hour, false},
	}
	presets := Presets()
	if len(presets) != len(want) || presets[0].Name != "default" {
		t.Errorf("%d presets, the first %q", len(presets), presets[0].Name)
	}
	for _, p := range presets {
		if p.Settings != want[p.Name] {
			t.Errorf("%s is %+v, want %+v", p.Name, p.Settings, want[p.Name])
		}
		if err := p.Settings.Validate(0); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if got, found := PresetNamed(p.Name); !found || got != p {
			t.Errorf("PresetNamed(%s) = %+v, %v", p.Name, got, found)
		}
	}
	if _, found := PresetNamed("AAL2"); found {
		t.Error("a preset by another name")
	}
}

func TestFromSeconds(t *testing.T) {
	limit := int64(math.MaxInt64) / int64(time.Second)
	for n, want := range map[int64]int64{
		0: 0, 1: 1, -1: -1, 1200: 1200, limit - 1: limit - 1, limit: limit, limit + 1: limit, math.MaxInt64: limit, math.MinInt64: -limit,
	} {
		if got := Seconds(FromSeconds(n)); got != want {
			t.Errorf("Seconds(FromSeconds(%d)) = %d, want %d", n, got, want)
		}
	}
}
