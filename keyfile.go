package bradawl

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bradawl/bradawl/internal/ident"
)

// LoadOrCreateIdentity reads the identity kept at path, or makes one and keeps it there,
// readable for its owner alone, in a folder that is there. The file is one line of base64.
// The error names the path; a file that is there but holds no identity is left alone. On Unix a
// file of ours that others may read or write is refused, as ssh does: its key may be known.
func LoadOrCreateIdentity(path string) (*Identity, error) {
	if path == "" {
		return nil, errors.New("bradawl: identity: no path given; name the file that keeps it")
	}
	text, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("bradawl: identity: %w", err)
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("bradawl: identity: %s holds no base64; %s", path, anew)
	}
	if len(secret) != ident.KeySize {
		return nil, fmt.Errorf("bradawl: identity: %s holds %d bytes and not %d; %s", path, len(secret), ident.KeySize, anew)
	}
	id, err := IdentityFromBytes(secret)
	if err != nil {
		return nil, fmt.Errorf("bradawl: identity: %s: %w; %s", path, err, anew)
	}
	return id, nil
}

// keyFileMost is more than any file has that holds an identity, in bytes.
const keyFileMost = 4096

// readKey reads a file that nobody else may.
func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory; name a file in it", path)
	case exposed(info):
		return nil, fmt.Errorf("%s has mode %04o, so that others may read or change it; if nobody can have, chmod 600 %[1]s, else move it away to have a new identity made",
			path, info.Mode().Perm())
	}
	return io.ReadAll(io.LimitReader(f, keyFileMost))
}

const anew = "put back the file that was kept, or move it away to have a new identity made"

// createIdentity writes beside path and links, so that of two programs that start at once
// one wins, and no half file is ever there.
func createIdentity(path string) (*Identity, error) {
	id, err := NewIdentity()
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Identity, error) {
		var at *fs.PathError // it names a file that nobody knows
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, fmt.Errorf("bradawl: identity: a new one cannot be kept at %s: %w; its folder must be there, and be writable", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".identity-*") // with mode 0600
	if err != nil {
		return fail(err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(id.Bytes()) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fail(err)
	}
	switch err := os.Link(f.Name(), path); {
	case err == nil:
		return id, nil
	case errors.Is(err, fs.ErrExist): // another program was quicker
		if _, err := os.Stat(path); err != nil { // a link that leads nowhere
			return nil, fmt.Errorf("bradawl: identity: what is at %s cannot be read: %w", path, err)
		}
		return LoadOrCreateIdentity(path)
	}
	if err := os.Rename(f.Name(), path); err != nil { // a file system without links
		return fail(err)
	}
	return id, nil
}
