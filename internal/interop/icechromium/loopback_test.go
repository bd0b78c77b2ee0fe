package icechromium_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/iceagent"
)

// onLoopback is a Chromium whose pages use 127.0.0.1 as they use any other address.
func onLoopback(t *testing.T) *chromium {
	t.Helper()
	c := start(t, func() (net.Listener, error) { return net.Listen("tcp4", "127.0.0.1:0") },
		chromedp.Flag("allow-loopback-in-peer-connection", true))
	c.grant(t)
	return c
}

func TestConnects(t *testing.T) {
	c := onLoopback(t)
	for _, network := range []string{"udp4", "tcp4"} { // Chromium opens TCP connections and takes none
		for _, offers := range []bool{false, true} {
			for _, trickle := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/offers=%v/trickle=%v", network, offers, trickle), func(t *testing.T) {
					o := iceagent.New(t, ice.Config{Networks: []string{network}}, ice.AgentConfig{Controlling: !offers})
					m := newMeeting(t, o, c.open(t), offers, trickle)
					m.connect()
					m.echo()
				})
			}
		}
	}
}

func TestRestarts(t *testing.T) {
	c := onLoopback(t)
	for _, offers := range []bool{false, true} {
		t.Run(fmt.Sprintf("offers=%v", offers), func(t *testing.T) {
			o := iceagent.New(t, ice.Config{Networks: []string{"udp4"}}, ice.AgentConfig{Controlling: !offers})
			m := newMeeting(t, o, c.open(t), offers, true)
			m.connect()
			m.echo()
			for _, byUs := range []bool{true, false, true} {
				m.restart(byUs)
			}
		})
	}
}
