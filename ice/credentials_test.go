package ice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

func TestCredentials(t *testing.T) {
	const ufrag, pwd = "8hhY", "asd88fgpdd777uzjYhagZg" // RFC 8839 section 5.4
	for _, c := range []struct {
		Credentials
		field string
	}{
		{Credentials{ufrag, pwd}, ""},
		{Credentials{strings.Repeat("u", 256), strings.Repeat("p", 256)}, ""},
		{Credentials{"+/09", strings.Repeat("+/", 11)}, ""},
		{Credentials{"", pwd}, "Ufrag"},
		{Credentials{"8hh", pwd}, "Ufrag"},
		{Credentials{strings.Repeat("u", 257), pwd}, "Ufrag"},
		{Credentials{"8h:Y", pwd}, "Ufrag"}, // a colon would shift the user name of checks
		{Credentials{"8hh\n", pwd}, "Ufrag"},
		{Credentials{"8hhé", pwd}, "Ufrag"},
		{Credentials{ufrag, ""}, "Pwd"},
		{Credentials{ufrag, pwd[1:]}, "Pwd"},
		{Credentials{ufrag, strings.Repeat("p", 257)}, "Pwd"},
		{Credentials{ufrag, pwd[1:] + "="}, "Pwd"},
		{Credentials{ufrag, pwd[1:] + " "}, "Pwd"},
	} {
		err := c.Check()
		var wrong *CredentialsError
		if c.field == "" {
			if err != nil {
				t.Errorf("%v: %v", c.Credentials, err)
			}
		} else if !errors.As(err, &wrong) || wrong.Field != c.field || wrong.Reason == "" {
			t.Errorf("%v: %v, want an error about %s", c.Credentials, err, c.field)
		}
		if err != nil && (strings.Contains(err.Error(), "asd88") || len(err.Error()) > 300) {
			t.Errorf("the error shows the password, or too much: %v", err)
		}
	}
}

func TestPasswordsAreNotPrinted(t *testing.T) {
	c := Credentials{"8hhY", "asd88fgpdd777uzjYhagZg"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, &c, struct{ C Credentials }{c}, []Credentials{c}} {
			s := fmt.Sprintf(verb, v)
			if strings.Contains(s, c.Pwd) || strings.Contains(s, fmt.Sprintf("%x", c.Pwd)) {
				t.Errorf("%s of %T: %s", verb, v, s)
			}
			if _, whole := v.(Credentials); whole && s != "ice-ufrag:8hhY" {
				t.Errorf("%s: %s", verb, s)
			}
		}
	}
	text, err := json.Marshal(c)
	var got Credentials
	if err != nil || json.Unmarshal(text, &got) != nil || got != c {
		t.Errorf("JSON %s, %v", text, err)
	}
}

// RFC 8445 section 5.3: 24 random bits and 128 at least; RFC 8839 section 5.4: a fragment
// of 32 characters at most.
func TestNewCredentials(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	seen := make(map[string]bool)
	for range 100 {
		c, err := newCredentials(random)
		if err != nil || c.Check() != nil {
			t.Fatalf("%v, %v, %v", c, err, c.Check())
		}
		if seen[c.Ufrag] || seen[c.Pwd] {
			t.Fatal("credentials came twice")
		}
		seen[c.Ufrag], seen[c.Pwd] = true, true
		if 6*len(c.Ufrag) < 24 || 6*len(c.Pwd) < 128 || len(c.Ufrag) > 32 {
			t.Fatalf("%d and %d characters", len(c.Ufrag), len(c.Pwd))
		}
	}
	// Every bit that was drawn shows.
	base, _ := newCredentials(bytes.NewReader(make([]byte, 24)))
	for bit := range 24 * 8 {
		var b [24]byte
		b[bit/8] = 1 << (bit % 8)
		if c, err := newCredentials(bytes.NewReader(b[:])); err != nil || c == base {
			t.Errorf("bit %d changes nothing (%v)", bit, err)
		}
	}
	gone := errors.New("gone")
	if c, err := newCredentials(iotest.ErrReader(gone)); !errors.Is(err, gone) || c != (Credentials{}) {
		t.Errorf("%v, %v", c, err)
	}
}
