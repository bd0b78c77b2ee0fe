//go:build unix

package bradawl_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bradawl/bradawl"
)

// TestIdentityThatOthersMayRead: a key that is no secret is not used, and the error says how to
// make it one again.
func TestIdentityThatOthersMayRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	id, err := bradawl.LoadOrCreateIdentity(path)
	check(t, err)
	link := filepath.Join(t.TempDir(), "link")
	check(t, os.Symlink(path, link))
	for _, c := range []struct {
		mode    os.FileMode
		refused string
	}{
		{0o600, ""}, {0o400, ""}, {0o700, ""},
		{0o644, "mode 0644"}, {0o640, "mode 0640"}, {0o604, "mode 0604"}, {0o620, "mode 0620"}, {0o602, "mode 0602"}, {0o777, "mode 0777"},
	} {
		check(t, os.Chmod(path, c.mode))
		for _, at := range []string{path, link} {
			got, err := bradawl.LoadOrCreateIdentity(at)
			switch {
			case c.refused == "":
				if err != nil || got.ID() != id.ID() {
					t.Errorf("%v: %v", c.mode, err)
				}
			case err == nil || got != nil:
				t.Errorf("%v: taken", c.mode)
			case !strings.Contains(err.Error(), at) || !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), "chmod 600"):
				t.Errorf("%v: %v", c.mode, err)
			}
		}
	}
}
