package natprobe_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// deadSocket breaks with its first read.
type deadSocket struct{}

var errEaten = errors.New("cable eaten")

func (deadSocket) ReadFrom([]byte) (int, net.Addr, error)    { return 0, nil, errEaten }
func (deadSocket) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
func (deadSocket) LocalAddr() net.Addr                       { return &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1} }
func (deadSocket) Close() error                              { return nil }
func (deadSocket) SetDeadline(time.Time) error               { return nil }
func (deadSocket) SetReadDeadline(time.Time) error           { return nil }
func (deadSocket) SetWriteDeadline(time.Time) error          { return nil }

// A socket that breaks at once ends the call, whether that is noticed before the
// first request or after.
func TestMappedAddressesOverABrokenSocket(t *testing.T) {
	servers := []netip.AddrPort{
		netip.MustParseAddrPort("[2001:db8::1]:3478"), netip.MustParseAddrPort("192.0.2.1:3478"), netip.MustParseAddrPort("[2001:db8::2]:3478"),
	}
	for range 100 { // the two race
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begin := time.Now()
			_, err := natprobe.MappedAddresses(ctx, deadSocket{}, servers, nil)
			var none *natprobe.NoAnswersError
			if !errors.As(err, &none) || !errors.Is(err, errEaten) || len(none.Servers) != len(servers) {
				t.Errorf("error %v", err)
			}
			if d := time.Since(begin); d != 0 {
				t.Errorf("took %v", d)
			}
		})
	}
}
