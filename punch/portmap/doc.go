// Package portmap asks the router for a port that anybody on the internet can reach
// this host at, by whichever protocol the router speaks: PCP (RFC 6887), NAT-PMP
// (RFC 6886) or UPnP IGD 1 and 2. For IPv6, where nothing is translated, it asks the
// router's firewall for a pinhole (PCP MAP, UPnP WANIPv6FirewallControl).
//
// [New] makes a [Client]; [Client.Map] asks for a mapping and returns it once it
// stands. All protocols are tried together and the first answer is used; what refuses
// is followed by what else answers. The mapping is renewed until it is closed, made
// anew when the router has restarted or the host has moved to another network, and
// deleted by [Mapping.Close] and [Client.Close].
//
// An outside address need not be public: behind a second NAT, a carrier's most often,
// the router knows only the address between the two. [Info.Public] says so; nobody on
// the internet reaches such a mapping.
//
// [Client.Words] tells what each protocol's router said, in its own words.
//
// # What is trusted
//
// Nothing of this is authenticated: who is on the same network can answer in the
// router's place. What can be checked is: answers come from the gateway that was asked,
// with PCP's nonce; UPnP descriptions are fetched from the gateway's own address and
// nowhere else (for IPv6 from the address on the host's own network that answered, as the
// gateway is known by a link-local one), without redirects and names, up to 256 KiB; XML may be 32 deep and has
// no entities. Lifetimes are taken for a day at most, and a router that says again and
// again that it has restarted makes us ask once in 5 s.
package portmap
