//go:build unix

package bradawl

import (
	"io/fs"
	"os"
	"syscall"
)

// exposed reports whether others than its owner may read a file of ours. As with ssh, what is
// somebody else's is for that one to see to: it may be a mounted secret, which we cannot change.
func exposed(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().Perm()&0o077 != 0 && int64(s.Uid) == int64(os.Getuid())
}
