package bradawl

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestMethodsAreNamed: go doc shows no methods of types of an internal package, so that the
// comments have to name them all.
func TestMethodsAreNamed(t *testing.T) {
	source, err := os.ReadFile("identity.go")
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	for name, of := range map[string]reflect.Type{"PeerID": reflect.TypeFor[*PeerID](), "Identity": reflect.TypeFor[*Identity]()} {
		comment, _, ok := strings.Cut(text, "\ntype "+name+" =")
		if !ok {
			t.Fatalf("%s is not in identity.go", name)
		}
		comment = comment[strings.LastIndex(comment, "\n\n")+1:]
		for i := range of.NumMethod() {
			if m := of.Method(i).Name; !regexp.MustCompile(`\b` + m + `\b`).MatchString(comment) {
				t.Errorf("the comment of %s does not name its method %s", name, m)
			}
		}
	}
}
