package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Wait says on w what is waited for, once that has taken a second, and for how long; stop
// takes the line away. Where w is no terminal it says nothing. While it is there, nobody else
// should write to the terminal.
func Wait(w io.Writer, what string) (stop func()) {
	return Watch(w, func() string { return what })
}

// Watch is [Wait] for what changes meanwhile. what is called each second, on a goroutine of
// its own.
func Watch(w io.Writer, what func() string) (stop func()) {
	if !IsTerminal(w) {
		return func() {}
	}
	return watch(w, what)
}

func watch(w io.Writer, what func() string) (stop func()) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for seconds := 1; ; seconds++ {
			select {
			case <-tick.C:
				fmt.Fprintf(w, "\r\x1b[K%s, %d s", what(), seconds)
			case <-done:
				if seconds > 1 {
					fmt.Fprint(w, "\r\x1b[K")
				}
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
}

// IsTerminal reports whether somebody watches w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// IsColoured reports whether what is written to w may have colours (see no-color.org).
func IsColoured(w io.Writer) bool { return IsTerminal(w) && os.Getenv("NO_COLOR") == "" }
