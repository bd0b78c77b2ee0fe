package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Teller tells of what happens as it happens: people in lines of text, programs in JSON, an
// object a line. Say may be called from any goroutine.
type Teller struct {
	W    io.Writer
	JSON bool

	mu sync.Mutex
}

// Say tells a record in JSON, or else the text of the same.
func (t *Teller) Say(record any, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.JSON {
		_ = json.NewEncoder(t.W).Encode(record) // who closed our output does not want it
		return
	}
	fmt.Fprintf(t.W, format+"\n", args...)
}
