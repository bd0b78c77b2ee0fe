package bradawl

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// treat asks the user how a peer is treated, off the loop. The control does not wait for an
// answer that does not come.
func (s *Session) treat(n note) {
	by := time.Now().Add(treatWithin)
	answer := func(t Treatment, err error) { s.loop.Post(func(now time.Time) { s.c.treat(now, n.conn, t, err) }) }
	err := s.treats.Submit(s.ctx, func(ctx context.Context) {
		ctx, cancel := context.WithDeadline(ctx, by)
		defer cancel()
		answer(s.treatment(ctx, n.peer))
	})
	if err != nil {
		answer(Treatment{}, errTreatBusy)
	}
}

// treatment is what the user says. A panic is no answer, and is logged with where it came
// from.
func (s *Session) treatment(ctx context.Context, peer PeerID) (t Treatment, err error) {
	if ctx.Err() != nil {
		return t, errTreatBusy // others' answers took all the time
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Errorf("Config.TreatPeer panicked: %v\n%s", p, debug.Stack())
			err = fmt.Errorf("it panicked: %v", p)
		}
	}()
	if t, err = s.cfg.TreatPeer(ctx, peer); err == nil {
		err = t.check()
	}
	return t, err
}
