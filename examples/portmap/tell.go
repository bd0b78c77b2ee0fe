package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/bradawl/bradawl/punch/portmap"
)

// teller prints what happens, for people or as JSON. Its methods may be called from any
// goroutine.
type teller struct {
	json     bool
	protocol portmap.Protocol

	mu sync.Mutex
	w  io.Writer // guarded by mu
}

// record is a line in JSON.
type record struct {
	Event    string          `json:"event"` // mapped, lost, received or failed
	Protocol string          `json:"protocol,omitempty"`
	External *netip.AddrPort `json:"external,omitempty"`
	Internal *netip.AddrPort `json:"internal,omitempty"`
	Method   string          `json:"method,omitempty"`
	Gateway  string          `json:"gateway,omitempty"`
	Lifetime float64         `json:"lifetime_s,omitempty"`
	Public   *bool           `json:"public,omitempty"`
	Bytes    *int            `json:"bytes,omitempty"`
	From     string          `json:"from,omitempty"`
	MS       int64           `json:"ms,omitempty"`
	Words    []string        `json:"words,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// say prints r, or text.
func (t *teller) say(r record, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.json {
		_ = json.NewEncoder(t.w).Encode(r) // who closed our output does not want it
		return
	}
	fmt.Fprint(t.w, text)
}

// said are a router's words, in lines.
func said(words []portmap.Word) (list []string, text string) {
	for _, w := range words {
		list = append(list, w.String())
		text += w.String() + "\n"
	}
	return list, text
}

func (t *teller) mapped(i portmap.Info, words []portmap.Word, took time.Duration) {
	public := ""
	if !i.Public {
		public = ", which is not public: there is another NAT beyond this router"
	}
	life := "until it is deleted"
	if i.Lifetime > 0 {
		life = fmt.Sprint("for ", i.Lifetime)
	}
	list, text := said(words)
	text += fmt.Sprintf("mapped: %v %v to %v by %v of %v, %s%s\n", t.protocol, i.External, i.Internal, i.Method, i.Gateway, life, public)
	if took > 0 {
		text += fmt.Sprintf("after %v\n", took)
	}
	t.say(record{
		Event: "mapped", Protocol: t.protocol.String(), External: &i.External, Internal: &i.Internal, Method: i.Method.String(),
		Gateway: i.Gateway.String(), Lifetime: i.Lifetime.Seconds(), Public: &i.Public, MS: took.Milliseconds(), Words: list,
	}, text)
}

func (t *teller) lost(err error) {
	t.say(record{Event: "lost", Error: err.Error()}, fmt.Sprintf("lost: %v\n", err))
}

func (t *teller) failed(err error, words []portmap.Word, port uint, took time.Duration) {
	list, text := said(words)
	if errors.Is(err, portmap.ErrNoGateway) {
		text += portmap.ErrNoGateway.Error() + "\n"
	}
	text += fmt.Sprintf("no mapping of %v port %d, known after %v\n", t.protocol, port, took)
	t.say(record{Event: "failed", Protocol: t.protocol.String(), MS: took.Milliseconds(), Words: list, Error: err.Error()}, text)
}

// show tells what arrives, until the socket is closed.
func (t *teller) show(pc net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		t.say(record{Event: "received", Bytes: &n, From: from.String()}, fmt.Sprintf("received %d bytes from %v\n", n, from))
	}
}
