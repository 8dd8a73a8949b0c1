package notify

import (
	"slices"
	"testing"
)

func TestList(t *testing.T) {
	var l List[int]
	l.Send(1) // to no function
	var got []string
	removeA := l.Add(func(v int) { got = append(got, string(rune('a'+v))) })
	removeB := l.Add(func(v int) { got = append(got, string(rune('A'+v))) })
	l.Send(2)
	removeA()
	removeA() // twice does no harm
	l.Send(3)
	removeB()
	l.Send(4)
	if want := []string{"c", "C", "D"}; !slices.Equal(got, want) {
		t.Errorf("called %q, want %q", got, want)
	}
}
