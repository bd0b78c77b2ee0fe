package punch

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
)

// FuzzLanes does anything to two sides of all lanes at once. What they send keeps to the
// budget and to the peer's own addresses, and they come to an end.
func FuzzLanes(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7}, uint8(0))
	f.Add([]byte{9, 8, 7, 6, 5, 200, 100, 50, 3, 3, 3, 7, 7, 7}, uint8(77))
	f.Add(bytes.Repeat([]byte{5, 1, 3, 6, 2}, 40), uint8(255))
	f.Fuzz(func(t *testing.T, ops []byte, mix uint8) {
		cfg := lanesConfig(
			Lane{Kind: LaneBirthday, Hard: Side(mix & 3)}, Lane{Kind: LanePredicted, Hard: Side(mix >> 2 & 3)},
			Lane{Kind: LaneCrossing, Hard: Both}, Lane{Kind: LaneBlocks, Hard: Both}, Lane{Kind: LaneTCPPredicted, Hard: Side(mix >> 3 & 3)},
		)
		cfg.Local.TCP.Ports, cfg.Remote.TCP.Ports = cfg.Local.Ports, cfg.Remote.Ports
		cfg.LocalTCP, cfg.FirstStream, cfg.FirstQuery = netip.MustParseAddrPort("192.168.0.2:4000"), 1<<20, 1<<10
		cfg.Local.Ports.Model, cfg.Remote.Ports.Model = natprobe.PortModel(mix>>4&7), natprobe.PortModel(mix>>5&7)
		cfg.Local.Ports.Low, cfg.Local.Ports.High = 30000, 30000+uint16(mix)*9
		cfg.Remote.Ports.Low, cfg.Remote.Ports.High = 65000, 64000+uint16(mix)*5
		cfg.Budget = Budget{Sockets: int(mix % 40), Probes: 300, Entries: int(mix) * 2, Table: int(mix) * 3}
		a, b := newLanesRig(t, cfg), newLanesRig(t, mirror(cfg))
		for len(ops) > 0 {
			x := ops[0]
			arg := ops[min(1, len(ops)-1):min(40, len(ops))]
			ops = ops[1:]
			switch x % 8 {
			case 0:
				a.run(time.Duration(arg[0]) * 4 * time.Millisecond)
				b.run(time.Duration(arg[0]) * 4 * time.Millisecond)
			case 1: // something of the other side's arrives on any socket
				if len(b.sent) > 0 {
					y := b.sent[int(arg[0])%len(b.sent)]
					y.Socket = machine.SocketID(x >> 3)
					a.take(y, lanePeer)
				}
			case 2: // and something of ours there
				if len(a.sent) > 0 {
					y := a.sent[int(arg[0])%len(a.sent)]
					y.Socket = machine.SocketID(x >> 3)
					b.take(y, netip.AddrPortFrom(lanePeer.Addr(), 1024+uint16(arg[0])))
				}
			case 3:
				msg := append(laneMessage(uint32(len(arg))+uint32(x), [6]uint16{uint16(x) << 6 & 0xf00, uint16(arg[0])}), arg...)
				a.HandleMessage(a.now, msg)
				a.drain()
			case 4:
				for _, e := range b.events {
					if e.Kind == LaneTell {
						a.HandleMessage(a.now, e.Message)
					}
				}
				a.drain()
			case 5:
				n := machine.Notice{Kind: machine.NoticeKind(arg[0] % 8), Socket: 10 + machine.SocketID(x>>3)}
				if len(a.dials) > 0 && arg[0]&8 != 0 {
					n.Stream, n.Data = a.dials[int(x>>3)%len(a.dials)].Stream, arg
					n.Socket = 0
				}
				a.HandleNotice(a.now, n)
				a.drain()
			case 6: // a server's answer to any request
				if len(a.sent) > 0 {
					y := a.sent[int(arg[0])%len(a.sent)]
					var m wire.Message
					if m.Decode(y.Data) == nil {
						var bld wire.Builder
						bld.Reset(wire.BindingSuccess, m.TransactionID())
						bld.AddXORAddress(wire.AttrXORMappedAddress, netip.AddrPortFrom(lanePeer.Addr(), uint16(arg[0])<<8|uint16(x)))
						a.take(machine.Transmit{Socket: y.Socket, Data: bytes.Clone(bld.Bytes())}, y.Remote)
					}
				}
			case 7:
				a.take(machine.Transmit{Socket: machine.SocketID(x >> 3), Data: arg}, lanePeer)
			}
		}
		a.run(time.Minute)
		b.run(time.Minute)
		a.aims()
		b.aims()
		if a.count(LanesDone) != 1 {
			t.Fatal("no end")
		}
		a.Close(a.now)
		if a.drain(); len(a.open) > 0 {
			t.Fatalf("%d sockets left open", len(a.open))
		}
		// Of connections, those that were told as opened are not the machine's any more, nor are
		// those that it was told are closed.
		if len(a.Lanes.streams)+len(a.dialled) > 0 {
			t.Fatalf("%d connections left open", len(a.Lanes.streams))
		}
	})
}
