package icepion_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/iceagent"
)

// patience bounds every test: pion waits 2 s before it takes a relayed path.
const patience = 30 * time.Second

// meeting is two agents that have connected.
type meeting struct {
	o              *iceagent.Agent
	th             *theirs
	conn, theirEnd net.Conn
}

// connect has the two meet. With trickle both start to check before either knows a
// candidate, and tell theirs one by one; otherwise each is told all of the other's at once.
func connect(t *testing.T, o *iceagent.Agent, th *theirs, dial bool, trickle bool) *meeting {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	check(t, th.gather())
	ufrag, pwd, err := th.credentials()
	check(t, err)
	ctxSignal, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	if !trickle {
		check(t, introduce(ctx, o, th))
	}
	check(t, o.SetRemote(ice.Credentials{Ufrag: ufrag, Pwd: pwd}))
	m := &meeting{o: o, th: th}
	// We close first: an agent of ours whose connection is gone opens another (RFC 6544
	// section 11.1), and pion's listener, closed after its agent, would wait for that one.
	t.Cleanup(func() { check(t, o.Close()) })
	met := make(chan error, 1)
	local := o.LocalCredentials()
	wg.Go(func() {
		call := th.accept
		if dial {
			call = th.dial
		}
		var err error
		m.theirEnd, err = call(ctx, local.Ufrag, local.Pwd)
		met <- err
	})
	if trickle {
		wg.Go(func() {
			if err := introduce(ctxSignal, o, th); err != nil && ctxSignal.Err() == nil {
				t.Error(err)
			}
		})
	}
	m.conn, err = o.Connect(ctx)
	if err != nil {
		t.Fatalf("our agent: %v; pairs %+v", err, o.Pairs())
	}
	if err := <-met; err != nil {
		t.Fatalf("pion's agent: %v; our pairs %+v", err, o.Pairs())
	}
	return m
}

// introduce tells each side the other's candidates, as they come, until both have told all.
func introduce(ctx context.Context, o *iceagent.Agent, th *theirs) error {
	for from, left := [2]chan string{o.Candidates, th.candidates}, 2; left > 0; {
		select {
		case text := <-from[0]:
			if text == "" {
				from[0] = nil
				left--
			} else if err := th.add(text); err != nil {
				return fmt.Errorf("pion does not take %q: %w", text, err)
			}
		case text := <-from[1]:
			if text == "" {
				from[1] = nil
				left--
			}
			if err := o.Tell(text); err != nil {
				return fmt.Errorf("we do not take %q: %w", text, err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// datagrams is how many go each way.
const datagrams = 1000

// exchange sends datagrams both ways at the same time, and checks that each arrives once
// and as it was sent.
func (m *meeting) exchange(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	errs := make(chan error, 2)
	all := sent()
	go func() { errs <- oneWay(ctx, m.conn, m.theirEnd, &all[0]) }()
	go func() { errs <- oneWay(ctx, m.theirEnd, m.conn, &all[1]) }()
	for range 2 {
		if err := <-errs; err != nil {
			t.Errorf("%v; ours selected %+v and counts %+v", err, m.o.Selected(), m.conn.(*ice.Conn).Stats())
		}
	}
}

// sent are the datagrams that go one way, and those that go the other: no STUN by their
// first byte (RFC 7983), with their number behind it, 5 to 1,200 bytes long.
var sent = sync.OnceValue(func() (all [2][datagrams][]byte) {
	r := rand.NewChaCha8([32]byte{})
	for way := range all {
		for i := range all[way] {
			b := make([]byte, 5+r.Uint64()%1196)
			_, _ = r.Read(b) // never fails
			binary.BigEndian.PutUint32(b, uint32(i))
			b[0] = 128
			all[way][i] = b
		}
	}
	return all
})

func oneWay(ctx context.Context, from, to net.Conn, all *[datagrams][]byte) error {
	// Few are under way at a time, or the system drops some.
	window := make(chan struct{}, 16)
	read := make(chan error, 1)
	var seen [datagrams]atomic.Bool
	missing := func(sent int) error {
		var which []int
		for i := range sent {
			if !seen[i].Load() {
				which = append(which, i)
			}
		}
		return fmt.Errorf("%w: of %d datagrams sent from %v to %v, %v did not arrive", context.Cause(ctx), sent, from.LocalAddr(), to.LocalAddr(), which)
	}
	go func() {
		buf := make([]byte, 1500)
		for range datagrams {
			n, err := to.Read(buf)
			if err != nil {
				read <- err
				return
			}
			if n < 5 {
				read <- fmt.Errorf("read %d bytes", n)
				return
			}
			i := int(binary.BigEndian.Uint32(buf) &^ (128 << 24))
			switch {
			case i >= datagrams || !bytes.Equal(buf[:n], all[i]):
				read <- fmt.Errorf("datagram %d, of %d bytes, is not as it was sent", i, n)
				return
			case seen[i].Swap(true):
				read <- fmt.Errorf("datagram %d came twice", i)
				return
			}
			<-window
		}
		read <- nil
	}()
	for i := range datagrams {
		select {
		case window <- struct{}{}:
		case err := <-read:
			return err
		case <-ctx.Done():
			return missing(i)
		}
		// pion's relay counts a Send indication's header among what it has written.
		if n, err := from.Write(all[i]); err != nil || n < len(all[i]) {
			return errors.Join(fmt.Errorf("wrote %d bytes", n), err)
		}
	}
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
		return missing(datagrams)
	}
}
