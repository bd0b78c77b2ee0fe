package words_test

import (
	"testing"

	"github.com/bradawl/bradawl/internal/words"
)

type colour uint8

const (
	red colour = iota
	green
)

var lists = map[string]words.List[colour]{
	"words": words.Of[colour]("red", "green"),
	"rows":  words.By[colour]([]struct{ word string }{{"red"}, {"green"}}, func(r struct{ word string }) string { return r.word }),
}

func TestList(t *testing.T) {
	for name, l := range lists {
		for v, word := range map[colour]string{red: "red", green: "green"} {
			if got := l.String(v); got != word {
				t.Errorf("%s: %d is %q, want %q", name, v, got, word)
			}
			text, err := l.Marshal(v)
			if err != nil || string(text) != word {
				t.Errorf("%s: %d is written %q, %v", name, v, text, err)
			}
			back := colour(99)
			if err := l.Unmarshal(text, &back); err != nil || back != v {
				t.Errorf("%s: %q is read as %d, %v", name, text, back, err)
			}
		}
	}
}

func TestNoWord(t *testing.T) {
	for name, l := range lists {
		for _, v := range []colour{2, 255} {
			if got, want := l.String(v), map[colour]string{2: "colour(2)", 255: "colour(255)"}[v]; got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		const none = `words_test: colour(2) has no word; use one of the constants`
		if text, err := l.Marshal(2); text != nil || err == nil || err.Error() != none {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		back := green
		const unknown = `words_test: "blue" is no colour; the words are ["red" "green"]`
		if err := l.Unmarshal([]byte("blue"), &back); err == nil || err.Error() != unknown || back != green {
			t.Errorf("%s: %d, %v", name, back, err)
		}
	}
	var empty words.List[colour]
	if got := empty.String(red); got != "colour(0)" {
		t.Errorf("of an empty list: %q", got)
	}
}

func BenchmarkString(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = lists["words"].String(green)
	}
}
