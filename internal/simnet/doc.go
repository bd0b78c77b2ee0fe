// Package simnet is a seeded internet in one process: hosts, links, NATs and
// firewalls in virtual time, without root and without sockets.
//
// It has two ways in. Machines (internal/machine) run on hosts directly, by
// [Run]: then one goroutine moves the whole world, and one seed gives one trace,
// byte for byte ([World.TraceHash]). Shells run over faces, which look like
// net.PacketConn and friends ([Host.ListenPacket]); [World.Go] then ties virtual
// time to the clock, which is the real one in a demo and the fake one inside
// testing/synctest.
//
// # The shape of a world
//
// A [Network] is a place where addresses can be reached: the internet itself
// ([World.Internet]) or the inside of a NAT. Hosts and NATs are attached to
// networks by links; a packet pays the link of its sender up and the link of its
// receiver down. A NAT joins the network inside it to the one outside, which may be
// the inside of another NAT. What a network does not know goes to its NAT; what the
// internet does not know is lost.
//
//	w := simnet.New(1)
//	alice, _ := w.AddSite("alice", "port-restricted-cone", simnet.Link{Delay: 25 * time.Millisecond})
//	server := w.AddHost("server", w.Internet(), simnet.Link{})
//
// A site is a host behind what a [Preset] says ([PresetNames]); others join it on its
// LAN ([Site.LAN]), and subscribers share a carrier's NAT by [Network.AddSite] on its
// inside. What presets do not have, a [NATConfig] has.
//
// # What happens in a world
//
// Links change ([Iface.SetLink]), interfaces go down ([Iface.SetUp]), change their
// addresses ([Iface.SetAddrs]), come and go ([Host.AddIface], [Host.RemoveIface]); NATs
// are rebooted ([NAT.Reboot]) or begin to block UDP ([NAT.SetBlockUDP]); paths die
// between two addresses ([Network.SetBlackhole]). [World.After] says when.
//
// Whatever drops a packet for a reason that the internet tells, tells it by an ICMP
// error, which finds its way back through NATs. IP fragments are not simulated.
//
// Only tests and demonstrations import this package.
package simnet
