//go:build !unix

package bradawl

import "io/fs"

// exposed is for systems whose files have a mode. Here it says nothing of who may read one.
func exposed(fs.FileInfo) bool { return false }
