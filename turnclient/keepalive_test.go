package turnclient_test

import (
	"errors"
	"testing"
	"time"

	"github.com/bradawl/bradawl/turnclient"
)

// gap is the longest time in which nothing was sent to the server, from start on.
func (l *lab) gap(start time.Duration) (longest time.Duration) {
	last := start
	for _, at := range append(times(l.sent), l.elapsed()) {
		if at > start {
			longest = max(longest, at-last)
			last = at
		}
	}
	return longest
}

// Where it is known how long the NAT keeps an idle mapping, the keepalive comes soon
// enough to lose two; over TCP the mapping is another.
func TestKeepaliveByTheMappingLifetime(t *testing.T) {
	for _, c := range []struct {
		mapping, keepalive time.Duration
		transport          turnclient.Transport
		want               time.Duration // the longest gap; 0: there is no keepalive
	}{
		{0, 0, turnclient.UDP, 15 * time.Second},
		{12 * time.Second, 0, turnclient.UDP, 4 * time.Second},
		{12 * time.Second, 0, turnclient.TCP, 15 * time.Second},
		{120 * time.Second, 0, turnclient.UDP, 15 * time.Second}, // not longer
		{120 * time.Second, time.Minute, turnclient.UDP, 40 * time.Second},
		{time.Second, 0, turnclient.UDP, time.Second}, // not shorter
		{12 * time.Second, -1, turnclient.UDP, 0},
	} {
		cfg := turnclient.MachineConfig{
			Credentials: creds, MappingLifetime: c.mapping, Keepalive: c.keepalive,
			Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: c.transport}},
		}
		l := newLab(t, cfg)
		l.serve(serverAddr, authed())
		l.ready()
		l.run(200 * time.Second)
		gap := l.gap(l.elapsed() - 190*time.Second)
		if c.want == 0 && gap < 180*time.Second || c.want != 0 && (gap > c.want || gap < c.want/2) {
			t.Errorf("mapping %v, keepalive %v, %v: nothing sent for %v, want %v", c.mapping, c.keepalive, c.transport, gap, c.want)
		}

		// The same is found out later.
		cfg.MappingLifetime = 0
		l = newLab(t, cfg)
		l.serve(serverAddr, authed())
		l.ready()
		l.run(100 * time.Second)
		since := l.elapsed()
		l.do(func(now time.Time) { l.m.SetMappingLifetime(now, c.mapping) })
		l.run(200 * time.Second)
		gap = l.gap(since)
		if c.want == 0 && gap < 180*time.Second || c.want != 0 && gap > c.want {
			t.Errorf("mapping %v, keepalive %v, %v, set later: nothing sent for %v, want %v", c.mapping, c.keepalive, c.transport, gap, c.want)
		}
	}
	_, err := turnclient.NewMachine(turnclient.MachineConfig{MappingLifetime: -1, Servers: []turnclient.Endpoint{{Addr: serverAddr}}}, nil, nil)
	var wrong *turnclient.ConfigError
	if !errors.As(err, &wrong) || wrong.Field != "MappingLifetime" {
		t.Error(err)
	}
}
