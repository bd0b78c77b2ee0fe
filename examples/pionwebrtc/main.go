// Pionwebrtc is for programs on github.com/pion/webrtc/v3: two PeerConnections in this
// process exchange a message over a data channel, and a recorder at each tells what their
// ICE agents did and when. All traffic stays on the loopback interface.
//
//	go run ./examples/pionwebrtc [-message TEXT] [-timeout TIME] [-json]
//
// With -json, standard output is one JSON object a line: who (alice or bob) and event, which is
// answered (sent, got), or what a recorder tells (gathered, gathering_done, state or pair: ms
// since it was made, from, state, local, remote, error), or times (gathered_ms, from its
// beginning, and connected_ms, from the first check).
//
// Exit code 0 means that the message came back, 1 that it did not, 2 that the flags are
// wrong; one line on standard error says what.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/ice/pionice"
	"github.com/pion/ice/v2"
	"github.com/pion/webrtc/v3"
)

func main() { cli.Main("pionwebrtc", run) }

const usage = `usage: pionwebrtc [-message TEXT] [-timeout TIME] [-json]

examples:
  pionwebrtc
      a message there and back, and what the ICE agents did
  pionwebrtc -message "good morning" -timeout 5s
      another message, and less patience
  pionwebrtc -json
      for programs

exit codes: 0 the message came back, 1 it did not, 2 the flags are wrong
`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("pionwebrtc", flag.ContinueOnError)
	message := flags.String("message", "hello", "`text` that alice sends and bob sends back")
	timeout := flags.Duration("timeout", 20*time.Second, "`time` to try")
	asJSON := flags.Bool("json", false, "print JSON, an object a line")
	switch err := cli.Parse(flags, args, stderr, usage, false); {
	case err != nil:
		return cli.Usage(err)
	case *message == "":
		return cli.Usage(errors.New("-message is empty: give it a character or more"))
	case *timeout <= 0:
		return cli.Usage(fmt.Errorf("-timeout %v: want a positive time", *timeout))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("no answer within %v", *timeout))
	defer cancel()
	alice, err := newPeer("alice")
	if err != nil {
		return err
	}
	defer alice.Close()
	bob, err := newPeer("bob")
	if err != nil {
		return err
	}
	defer bob.Close()
	out := teller{&cli.Teller{W: stdout, JSON: *asJSON}}
	err = exchange(ctx, alice, bob, *message, out)
	for _, p := range []*peer{alice, bob} { // also where it failed: that is what they are for
		p.report(out)
	}
	return err
}

// A peer is one side of the connection, with its recorder.
type peer struct {
	*webrtc.PeerConnection
	name     string
	rec      *pionice.Recorder
	found    chan webrtc.ICECandidateInit // local candidates on their way to the other side
	failed   chan struct{}                // has one when the ICE agent gives up
	recorded chan struct{}                // closed when the recorder has all that it can tell
}

func newPeer(name string) (*peer, error) {
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(net.IP.IsLoopback)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	p := &peer{
		PeerConnection: pc,
		name:           name,
		found:          make(chan webrtc.ICECandidateInit, 64), // more than loopback has
		failed:         make(chan struct{}, 1),
		recorded:       make(chan struct{}),
	}
	var complete sync.Once
	p.rec = pionice.NewRecorder(pionice.RecorderConfig{Session: name, OnEvent: func(pionice.Event) {
		if t := p.rec.Times(); !t.Connected.IsZero() && !t.PairSelected.IsZero() && !t.GatheringDone.IsZero() {
			complete.Do(func() { close(p.recorded) })
		}
	}})
	// The application's own handlers are p.trickle and p.changed. The recorder stands
	// before them.
	pc.OnICECandidate(pionice.OnICECandidate(p.rec, p.trickle, text))
	pc.OnICEConnectionStateChange(pionice.OnICEConnectionStateChange(p.rec, p.changed))
	pc.SCTP().Transport().ICETransport().OnSelectedCandidatePairChange(
		pionice.OnSelectedCandidatePairChange(p.rec, nil, func(pair *webrtc.ICECandidatePair) (local, remote string) {
			return text(pair.Local), text(pair.Remote)
		}))
	return p, nil
}

// text is how the recorder, which does not know pion/webrtc, reads a candidate.
func text(c *webrtc.ICECandidate) string { return c.ToJSON().Candidate }

// trickle sends a local candidate to the other side at once.
func (p *peer) trickle(c *webrtc.ICECandidate) {
	if c == nil {
		close(p.found) // there are no more
		return
	}
	p.found <- c.ToJSON()
}

func (p *peer) changed(s webrtc.ICEConnectionState) {
	if s == webrtc.ICEConnectionStateFailed {
		select {
		case p.failed <- struct{}{}:
		default:
		}
	}
}

var errNoPath = errors.New("no candidate pair answered; is the loopback interface up?")

// exchange connects the two and has a message go to and fro.
func exchange(ctx context.Context, alice, bob *peer, message string, out teller) error {
	channel, err := alice.CreateDataChannel("talk", nil)
	if err != nil {
		return err
	}
	answers := make(chan string, 1)
	channel.OnOpen(func() { _ = channel.SendText(message) }) // a failure shows as silence
	channel.OnMessage(func(m webrtc.DataChannelMessage) { answers <- string(m.Data) })
	bob.OnDataChannel(func(c *webrtc.DataChannel) {
		c.OnMessage(func(m webrtc.DataChannelMessage) { _ = c.SendText(string(m.Data)) })
	})
	if err := signalling(alice, bob); err != nil {
		return err
	}
	for alice.found != nil || bob.found != nil || answers != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-alice.failed:
			return errNoPath
		case <-bob.failed:
			return errNoPath
		case c, more := <-alice.found:
			if err := bob.learn(c, more, &alice.found); err != nil {
				return err
			}
		case c, more := <-bob.found:
			if err := alice.learn(c, more, &bob.found); err != nil {
				return err
			}
		case answer := <-answers:
			out.answered(alice, message, answer)
			answers = nil
		}
	}
	for _, p := range []*peer{alice, bob} {
		select {
		case <-p.recorded:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// signalling carries offer and answer, which in a real program go by way of a server.
func signalling(alice, bob *peer) error {
	offer, err := alice.CreateOffer(nil)
	if err != nil {
		return err
	}
	if err := errors.Join(alice.SetLocalDescription(offer), bob.SetRemoteDescription(offer)); err != nil {
		return err
	}
	answer, err := bob.CreateAnswer(nil)
	if err != nil {
		return err
	}
	return errors.Join(bob.SetLocalDescription(answer), alice.SetRemoteDescription(answer))
}

// learn adds a candidate of the other side; without more of them, it stops listening.
func (p *peer) learn(c webrtc.ICECandidateInit, more bool, found *chan webrtc.ICECandidateInit) error {
	if !more {
		*found = nil
		return nil
	}
	return p.AddICECandidate(c)
}
