package portmap

import (
	"fmt"
	"net/netip"

	"github.com/bradawl/bradawl/internal/words"
)

// Protocol is what a mapping carries, by its number in the IP header.
type Protocol uint8

// What can be mapped.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// String returns "TCP" or "UDP", as UPnP writes them.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// Method is a protocol that routers are asked by.
type Method uint8

// The protocols.
const (
	PCP    Method = iota // RFC 6887
	NATPMP               // RFC 6886
	UPnP                 // Internet Gateway Device 1 and 2
)

var methods = words.Of[Method]("PCP", "NAT-PMP", "UPnP")

// String returns the protocol's name.
func (m Method) String() string { return methods.String(m) }

// Word is what is known of one protocol of one router, for people who ask why there is
// no mapping.
type Word struct {
	Gateway  netip.Addr // the router
	Method   Method
	Speaks   bool       // the router answered
	External netip.Addr // the outside address that it told; not valid: none
	Says     string     // what it said last, or why nothing is known
}

// String is the word as a sentence.
func (w Word) String() string { return fmt.Sprintf("%v of %v: %s", w.Method, w.Gateway, w.Says) }

// pcpResults are those of RFC 6887 section 7.4.
var pcpResults = [...]string{
	"SUCCESS", "UNSUPP_VERSION", "NOT_AUTHORIZED", "MALFORMED_REQUEST", "UNSUPP_OPCODE", "UNSUPP_OPTION", "MALFORMED_OPTION",
	"NETWORK_FAILURE", "NO_RESOURCES", "UNSUPP_PROTOCOL", "USER_EX_QUOTA", "CANNOT_PROVIDE_EXTERNAL", "ADDRESS_MISMATCH",
	"EXCESSIVE_REMOTE_PEERS",
}

// pmpResults are those of RFC 6886 section 3.5.
var pmpResults = [...]string{
	"Success", "Unsupported Version", "Not Authorized/Refused", "Network Failure", "Out of resources", "Unsupported opcode",
}

// upnpErrors are those of UPnP's Device Architecture, WANIPConnection and
// WANIPv6FirewallControl that a router may give us.
var upnpErrors = map[int]string{
	401: "Invalid Action", 402: "Invalid Args", 501: "Action Failed", 600: "Argument Value Invalid", 601: "Argument Value Out of Range",
	602: "Optional Action Not Implemented", 603: "Out of Memory", 604: "Human Intervention Required", 605: "String Argument Too Long",
	606: "Action not authorized", 701: "PinholeSpaceExhausted", 702: "FirewallDisabled", 703: "InboundPinholeNotAllowed", 704: "NoSuchEntry",
	705: "ProtocolNotSupported", 706: "InternalPortWildcardingNotAllowed", 707: "ProtocolWildcardingNotAllowed", 708: "InvalidLayer2Address",
	709: "NoPacketSent", 713: "SpecifiedArrayIndexInvalid", 714: "NoSuchEntryInArray", 715: "WildCardNotPermittedInSrcIP",
	716: "WildCardNotPermittedInExtPort", 718: "ConflictInMappingEntry", 724: "SamePortValuesRequired", 725: "OnlyPermanentLeasesSupported",
	726: "RemoteHostOnlySupportsWildcard", 727: "ExternalPortOnlySupportsWildcard", 728: "NoPortMapsAvailable",
	729: "ConflictWithOtherMechanisms", 730: "PortMappingNotFound", 731: "ReadOnly", 732: "WildCardNotPermittedInIntPort", 733: "InconsistentParameters",
}

func named(names []string, code int) string {
	if code < len(names) {
		return names[code]
	}
	return "unknown result"
}
