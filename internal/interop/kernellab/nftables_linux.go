package kernellab

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// masquerade makes n a home router:
//
//	postrouting: oifname up masquerade [fully-random]
//	forward, input: iifname up ct state established,related accept
//	                iifname up drop
//	forward, with blockUDP: meta l4proto udp drop
//
// That input drops matters for more than the router's own safety. A datagram
// that arrives before the inner host sent anything is addressed to the router
// itself; were it accepted, conntrack would keep an entry for it, and the inner
// host's own datagram could no longer have its port, since the reply's tuple
// would be taken. Entries of dropped packets are never confirmed.
func masquerade(n *Namespace, fullyRandom, blockUDP bool) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.handle())))
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "router"})
	post := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: append(
		ifname(expr.MetaKeyOIFNAME), &expr.Masq{FullyRandom: fullyRandom})})

	for name, hook := range map[string]*nftables.ChainHook{
		"forward": nftables.ChainHookForward,
		"input":   nftables.ChainHookInput,
	} {
		chain := c.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityFilter,
		})
		if blockUDP && name == "forward" {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
				&expr.Verdict{Kind: expr.VerdictDrop},
			}})
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(
			append(ifname(expr.MetaKeyIIFNAME), askedFor()...), &expr.Verdict{Kind: expr.VerdictAccept})})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(
			ifname(expr.MetaKeyIIFNAME), &expr.Verdict{Kind: expr.VerdictDrop})})
	}
	return c.Flush()
}

// ifname matches packets whose interface is the uplink.
func ifname(key expr.MetaKey) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, uplink)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
	}
}

// askedFor matches packets of known connections, and ICMP errors about them.
func askedFor() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
			Xor:  binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}
