package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// content is n bytes that are like no others.
func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return b
}

func fileOf(t *testing.T, name string, b []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func newFolder(t *testing.T) (*folder, string) {
	t.Helper()
	path := t.TempDir()
	root, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return &folder{root: root, max: 1 << 20}, path
}

type both struct {
	sent, received result
	sentErr, err   error
}

// transfer sends a file over a pipe; break_ may make the sender's end another one.
func transfer(t *testing.T, file *os.File, to *folder, broken func(net.Conn) net.Conn) (b both) {
	t.Helper()
	here, there := net.Pipe()
	if broken != nil {
		here = broken(here)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.received, b.err = to.receive(t.Context(), there, newMeter(io.Discard))
		_, _ = io.Copy(io.Discard, there) // as quicpeer does at the end
	}()
	b.sent, b.sentErr = send(t.Context(), here, file, newMeter(io.Discard))
	here.Close()
	<-done
	there.Close()
	return b
}

// files are those of a folder with what they hold.
func files(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

func TestWhole(t *testing.T) {
	for _, size := range []int{0, 1, 32 << 10, 300_001} {
		to, path := newFolder(t)
		b := transfer(t, fileOf(t, "a file.bin", content(size)), to, nil)
		if b.err != nil || b.sentErr != nil || b.sent != b.received || b.sent.Bytes != int64(size) || b.sent.Resumed != 0 {
			t.Errorf("%d bytes: %+v", size, b)
		}
		if all := files(t, path); len(all) != 1 || all["a file.bin"] != string(content(size)) {
			t.Errorf("%d bytes: there are %d files, or it is another one", size, len(all))
		}
	}
}

// TestGrows: of a file that is written to while it is sent, what was there at first is sent;
// one that became shorter is not.
func TestGrows(t *testing.T) {
	whole := content(200_000)
	file := fileOf(t, "log", whole[:100_000])
	become := func(b []byte) func() error {
		return func() error { return os.WriteFile(file.Name(), b, 0o600) }
	}
	to, path := newFolder(t)
	b := both{}
	here, there := net.Pipe()
	defer here.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.received, b.err = to.receive(t.Context(), there, newMeter(io.Discard))
	}()
	b.sent, b.sentErr = send(&atFirst{Context: t.Context(), do: become(whole)}, here, file, newMeter(io.Discard))
	<-done
	if b.err != nil || b.sentErr != nil || b.sent != b.received || b.sent.Bytes != 100_000 || files(t, path)["log"] != string(whole[:100_000]) {
		t.Errorf("it grew: %+v", b)
	}
	rewind(t, file)
	if _, err := send(&atFirst{Context: t.Context(), do: become(whole[:10])}, here, file, newMeter(io.Discard)); !errors.Is(err, errShorter) {
		t.Errorf("it became shorter: %v", err)
	}
}

// atFirst is a context that does something when it is first asked, which is before the file
// is read, but after its size is known.
type atFirst struct {
	context.Context
	do func() error
}

func (c *atFirst) Err() error {
	if do := c.do; do != nil {
		c.do = nil
		if err := do(); err != nil {
			return err
		}
	}
	return c.Context.Err()
}

// cut is a connection that breaks after so many bytes.
type cut struct {
	net.Conn
	left int
}

func (c *cut) Write(b []byte) (int, error) {
	if c.left -= len(b); c.left < 0 {
		c.Close()
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(b)
}

// TestBrokenOff: what has come is kept, and only the rest is sent; of another content of the
// same name nothing is taken for it.
func TestBrokenOff(t *testing.T) {
	whole := content(300_001)
	to, path := newFolder(t)
	file := fileOf(t, "x", whole)
	b := transfer(t, file, to, func(c net.Conn) net.Conn { return &cut{c, 150_000} })
	gone := new(goneError)
	if b.sentErr == nil || !errors.As(b.err, &gone) || gone.have == 0 || gone.have > 150_000 {
		t.Fatalf("%+v", b)
	}
	other := append(content(200_000), "another"...)
	if b := transfer(t, fileOf(t, "y", other), to, nil); b.err != nil || b.sentErr != nil || b.sent.Resumed != 0 {
		t.Fatalf("%+v", b)
	}
	rewind(t, file)
	b = transfer(t, file, to, nil)
	if b.err != nil || b.sentErr != nil || b.sent != b.received || b.sent.Resumed != gone.have {
		t.Fatalf("%+v, want it to go on at %d", b, gone.have)
	}
	if all := files(t, path); len(all) != 2 || all["x"] != string(whole) || all["y"] != string(other) {
		t.Errorf("there are %d files, or they are other ones", len(all))
	}
}

// TestSentAgain: a file that is there already, of which the sender may not have heard, is as
// good as one that comes; of another one of its name nothing is touched.
func TestSentAgain(t *testing.T) {
	whole := content(100_001)
	to, path := newFolder(t)
	file := fileOf(t, "x", whole)
	deaf := func(c net.Conn) net.Conn { return &deaf{Conn: c, left: 1} }
	if b := transfer(t, file, to, deaf); b.sentErr == nil || b.err != nil || b.received.Bytes != 100_001 {
		t.Fatalf("the last reply was lost: %+v", b)
	}
	rewind(t, file)
	if b := transfer(t, file, to, nil); b.err != nil || b.sentErr != nil || b.sent != b.received || b.sent.Resumed != 100_001 {
		t.Errorf("sent again: %+v", b)
	}
	whole[100_000]++
	for _, other := range [][]byte{whole, whole[:100_000], nil} {
		if b := transfer(t, fileOf(t, "x", other), to, nil); b.err == nil || b.sentErr == nil || !strings.Contains(b.sentErr.Error(), "there is a x already") {
			t.Errorf("another one: %+v", b)
		}
	}
	if all := files(t, path); len(all) != 1 || all["x"] != string(content(100_001)) {
		t.Errorf("there are %d files, or it is another one", len(all))
	}
}

// deaf is a connection that breaks when the reply after so many others comes.
type deaf struct {
	net.Conn
	left int // of the replies
	part int // what of the present one comes next: its length, or the rest
}

func (d *deaf) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if d.left == 0 {
		d.Close()
		return 0, io.ErrClosedPipe
	}
	if d.part += n; d.part > 2 {
		d.left, d.part = d.left-1, 0
	}
	return n, err
}

func rewind(t *testing.T, f *os.File) {
	t.Helper()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
}

// full is a disk with room for so many bytes.
type full struct {
	io.ReadWriter
	room int
}

var errFull = errors.New("no space left on device")

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return f.ReadWriter.Write(b)
}

// TestDiskFull: the sender is told in the middle, and goes on when there is room.
func TestDiskFull(t *testing.T) {
	to, path := newFolder(t)
	to.disk = func(f *os.File) io.ReadWriter { return &full{f, 100_000} }
	file := fileOf(t, "x", content(300_001))
	b := transfer(t, file, to, nil)
	if b.sentErr == nil || !strings.Contains(b.sentErr.Error(), "no space left") || !errors.Is(b.err, errFull) {
		t.Fatalf("%+v", b)
	}
	to.disk = nil
	rewind(t, file)
	b = transfer(t, file, to, nil)
	if b.err != nil || b.sentErr != nil || b.sent.Resumed == 0 {
		t.Fatalf("%+v", b)
	}
	if all := files(t, path); len(all) != 1 || all["x"] != string(content(300_001)) {
		t.Error("it is another file")
	}
}

// TestHostileOffers: nothing is written for them, and the receiver says why.
func TestHostileOffers(t *testing.T) {
	sum := sha256.Sum256([]byte("abc"))
	for name, o := range map[string]offer{
		"up":             {"../x", 3, sum[:]},
		"up on Windows":  {`..\x`, 3, sum[:]},
		"absolute":       {"/x", 3, sum[:]},
		"a drive":        {"c:x", 3, sum[:]},
		"the folder":     {".", 3, sum[:]},
		"its parent":     {"..", 3, sum[:]},
		"a shell's":      {".bash_profile", 3, sum[:]},
		"in a folder":    {"a/x", 3, sum[:]},
		"no name":        {"", 3, sum[:]},
		"a long name":    {strings.Repeat("x", 300), 3, sum[:]},
		"an escape":      {"x\x1b[2J", 3, sum[:]},
		"a NUL":          {"x\x00", 3, sum[:]},
		"right to left":  {"x\u202egpj", 3, sum[:]},
		"our own suffix": {"x.0011223344556677.part", 3, sum[:]},
		"too big":        {"x", 1<<20 + 1, sum[:]},
		"negative":       {"x", -1, sum[:]},
		"no sum":         {"x", 3, nil},
		"a link":         {"link", 3, sum[:]},
	} {
		t.Run(name, func(t *testing.T) {
			to, path := newFolder(t)
			outside := filepath.Join(t.TempDir(), "outside")
			if err := os.Symlink(outside, filepath.Join(path, "link")); err != nil {
				t.Skipf("no symbolic links here: %v", err)
			}
			got, err := offerIt(t, to, o, nil)
			if err == nil || got.Error == "" {
				t.Errorf("it was taken: %+v", got)
			}
			entries, err := os.ReadDir(path)
			if err != nil || len(entries) != 1 {
				t.Errorf("%v, %v: something was written", entries, err)
			}
			if _, err := os.Lstat(outside); err == nil {
				t.Error("something was written outside")
			}
		})
	}
}

// offerIt makes an offer and sends data after it, and returns the last reply.
func offerIt(t *testing.T, to *folder, o offer, data []byte) (last reply, err error) {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	done := make(chan error, 1)
	go func() {
		_, err := to.receive(context.Background(), there, newMeter(io.Discard))
		done <- err
	}()
	if err := writeMessage(here, o); err != nil {
		t.Fatal(err)
	}
	for {
		if err := readMessage(here, &last); err != nil {
			t.Fatal(err)
		}
		if data == nil || last.Error != "" {
			return last, <-done
		}
		if _, err := here.Write(data); err != nil {
			t.Fatal(err)
		}
		data = nil
	}
}

// TestAnotherContent: what does not have the sum that was announced is not kept.
func TestAnotherContent(t *testing.T) {
	to, path := newFolder(t)
	sum := sha256.Sum256([]byte("abc"))
	got, err := offerIt(t, to, offer{"x", 3, sum[:]}, []byte("abd"))
	if err == nil || !strings.Contains(got.Error, "SHA-256") || len(files(t, path)) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	long := filepath.Join(path, partName(offer{"x", 3, sum[:]}))
	if err := os.WriteFile(long, []byte("abcd"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := offerIt(t, to, offer{"x", 3, sum[:]}, nil); err == nil || !strings.Contains(got.Error, "there were 4 bytes") || len(files(t, path)) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMessages(t *testing.T) {
	for name, b := range map[string]string{"too long": "\xff\xff", "cut off": "\x00\x05{}", "no JSON": "\x00\x01x", "nothing": ""} {
		to, _ := newFolder(t)
		here, there := net.Pipe()
		go func() {
			_, _ = io.WriteString(here, b)
			here.Close()
		}()
		if _, err := to.receive(t.Context(), there, newMeter(io.Discard)); err == nil || !strings.Contains(err.Error(), "no offer") {
			t.Errorf("%s: %v", name, err)
		}
		there.Close()
	}
	if err := writeMessage(io.Discard, offer{Name: strings.Repeat("x", maxMessage)}); err == nil {
		t.Error("a message of any length was written")
	}
	var out bytes.Buffer
	if err := writeMessage(&out, reply{From: 7}); err != nil || out.String() != "\x00\x0a{\"from\":7}" {
		t.Errorf("%q, %v", &out, err)
	}
}
