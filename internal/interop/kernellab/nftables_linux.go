package kernellab

import (
	"net/netip"

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
//
// With OpenInput, without what is said of input.
//
// With Ports, instead of masquerade:
//
//	postrouting: oifname up snat to public:ports [fully-random]
//
// With Sequential, the same with ports numgen inc mod 40000 offset 20000.
//
// With BlockUDP, before the others:
//
//	forward: meta l4proto udp drop
//
// With ForwardTo, before the others, and the condition only with KnownOnly:
//
//	prerouting: iifname up meta l4proto udp dnat to host
//	forward: oifname up meta l4proto udp update @asked { ip daddr . udp sport }
//	         iifname up [ip saddr . udp dport @asked] ct status dnat accept
//
// That input drops matters for more than the router's own safety. A datagram
// that arrives before the inner host sent anything is addressed to the router
// itself; were it accepted, conntrack would keep an entry for it, and the inner
// host's own datagram could no longer have its port, since the reply's tuple
// would be taken (OpenInput). Entries of dropped packets are never confirmed.
func masquerade(n *Namespace, c NATConfig) error {
	r, err := newRuleset(n)
	if err != nil {
		return err
	}
	post := r.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	switch {
	case c.Sequential:
		r.rule(post, ifname(expr.MetaKeyOIFNAME),
			load(1, c.Public.AsSlice()),
			&expr.Numgen{Register: 2, Type: unix.NFT_NG_INCREMENTAL, Modulus: 40000, Offset: 20000},
			&expr.Byteorder{SourceRegister: 2, DestRegister: 2, Op: expr.ByteorderHton, Len: 2, Size: 2},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true})
	case c.Ports == [2]uint16{}:
		r.rule(post, ifname(expr.MetaKeyOIFNAME), &expr.Masq{FullyRandom: c.FullyRandom})
	default: // what masquerade would do; only that nftables.Masq does not get the ports across
		r.rule(post, ifname(expr.MetaKeyOIFNAME),
			load(1, c.Public.AsSlice()),
			load(2, binaryutil.BigEndian.PutUint16(c.Ports[0])),
			load(3, binaryutil.BigEndian.PutUint16(c.Ports[1])),
			&expr.NAT{
				Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, FullyRandom: c.FullyRandom,
				RegAddrMin: 1, RegProtoMin: 2, RegProtoMax: 3, Specified: true,
			})
	}

	forward := r.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	if c.BlockUDP {
		r.rule(forward, udp(), drop)
	}
	if c.ForwardTo.IsValid() {
		if err := r.forwardUnasked(forward, c.ForwardTo, c.KnownOnly); err != nil {
			return err
		}
	}
	if c.Mappable {
		r.rule(forward, append(ifname(expr.MetaKeyIIFNAME), known(expr.CtKeySTATUS, statusDNAT)...), accept)
	}
	r.onlyAnswers(forward)
	if !c.OpenInput {
		r.onlyAnswers(r.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter))
	}
	return r.Flush()
}

// mappable makes the chains that miniupnpd wants to find, as its own nft_init.sh does.
func mappable(n *Namespace) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.handle())))
	if err != nil {
		return err
	}
	r := &ruleset{c, c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "filter"})}
	hooks := []struct {
		hook, jump string
		kind       nftables.ChainType
		at         *nftables.ChainHook
		priority   *nftables.ChainPriority
	}{
		{"forward", "miniupnpd", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter},
		{"prerouting", "prerouting_miniupnpd", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest},
		{"postrouting", "postrouting_miniupnpd", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource},
	}
	for _, h := range hooks {
		r.AddChain(&nftables.Chain{Name: h.jump, Table: r.table})
		r.rule(r.chain(h.hook, h.kind, h.at, h.priority), nil, &expr.Verdict{Kind: expr.VerdictJump, Chain: h.jump})
	}
	return r.Flush()
}

// firewall lets into n itself only what it asked for.
func firewall(n *Namespace) error {
	r, err := newRuleset(n)
	if err != nil {
		return err
	}
	r.onlyAnswers(r.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter))
	return r.Flush()
}

// ruleset is a namespace's only table, to be filled and flushed.
type ruleset struct {
	*nftables.Conn
	table *nftables.Table
}

func newRuleset(n *Namespace) (*ruleset, error) {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.handle())))
	if err != nil {
		return nil, err
	}
	return &ruleset{c, c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "lab"})}, nil
}

func (r *ruleset) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, p *nftables.ChainPriority) *nftables.Chain {
	return r.AddChain(&nftables.Chain{Name: name, Table: r.table, Type: kind, Hooknum: hook, Priority: p})
}

func (r *ruleset) rule(c *nftables.Chain, match []expr.Any, then ...expr.Any) {
	r.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: append(match, then...)})
}

// onlyAnswers drops what comes from the uplink unless it was asked for.
func (r *ruleset) onlyAnswers(c *nftables.Chain) {
	r.rule(c, append(ifname(expr.MetaKeyIIFNAME), known(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)...), accept)
	r.rule(c, ifname(expr.MetaKeyIIFNAME), drop)
}

// forwardUnasked passes UDP that nobody asked for on to host.
func (r *ruleset) forwardUnasked(forward *nftables.Chain, host netip.Addr, knownOnly bool) error {
	pre := r.chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	r.rule(pre, append(ifname(expr.MetaKeyIIFNAME), udp()...),
		load(1, host.AsSlice()), &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})
	match := append(ifname(expr.MetaKeyIIFNAME), udp()...)
	if knownOnly {
		key, err := nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
		if err != nil {
			return err
		}
		asked := &nftables.Set{Table: r.table, Name: "asked", KeyType: key, Concatenation: true, Dynamic: true}
		if err := r.AddSet(asked, nil); err != nil {
			return err
		}
		// Where the headers have them.
		const saddr, daddr, sport, dport = 12, 16, 0, 2
		r.rule(forward, append(append(ifname(expr.MetaKeyOIFNAME), udp()...), endpoint(daddr, sport)...),
			&expr.Dynset{SrcRegKey: 1, SetID: asked.ID, SetName: asked.Name, Operation: unix.NFT_DYNSET_OP_UPDATE})
		match = append(append(match, endpoint(saddr, dport)...),
			&expr.Lookup{SourceRegister: 1, SetID: asked.ID, SetName: asked.Name})
	}
	r.rule(forward, append(match, known(expr.CtKeySTATUS, statusDNAT)...), accept)
	return nil
}

const statusDNAT = 1 << 5 // IPS_DST_NAT

var (
	accept = &expr.Verdict{Kind: expr.VerdictAccept}
	drop   = &expr.Verdict{Kind: expr.VerdictDrop}
)

// udp matches UDP packets.
func udp() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
	}
}

// load puts a value into a register.
func load(register uint32, value []byte) expr.Any {
	return &expr.Immediate{Register: register, Data: value}
}

// endpoint puts an address of the IPv4 header into register 1 and a port of the
// UDP header behind it.
func endpoint(addr, port uint32) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: addr, Len: 4},
		&expr.Payload{DestRegister: unix.NFT_REG32_01, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2},
	}
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

// known matches packets of whose connection one of the bits is set.
func known(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits),
			Xor:  binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}
