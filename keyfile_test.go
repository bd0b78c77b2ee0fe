package bradawl_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bradawl/bradawl"
)

func TestLoadOrCreateIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	ids := make([]bradawl.PeerID, 8)
	var wg sync.WaitGroup
	for i := range ids { // all at once: all get the same
		wg.Go(func() {
			id, err := bradawl.LoadOrCreateIdentity(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = id.ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("two identities at one path: %v and %v", id, ids[0])
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("not a key!"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bradawl.LoadOrCreateIdentity(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file without a key: %v", err)
	}
	for what, c := range map[string]struct{ path, want string }{
		"no path":   {"", "name the file"},
		"no folder": {filepath.Join(t.TempDir(), "none", "id"), "folder must be there"},
		"a folder":  {t.TempDir(), "is a directory; name a file in it"},
	} {
		_, err := bradawl.LoadOrCreateIdentity(c.path)
		if err == nil || !strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), ".identity-") {
			t.Errorf("%s: %v", what, err)
		}
	}
	cut := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(cut, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bradawl.LoadOrCreateIdentity(cut); err == nil || !strings.Contains(err.Error(), cut) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("an empty file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "not a key!" {
		t.Error("the file was overwritten")
	}
	if _, err := bradawl.LoadOrCreateIdentity(filepath.Join(path, "x", "y")); err == nil {
		t.Error("a path that cannot be")
	}
}
