// Package pionice is for programs that run github.com/pion/ice/v2, by itself or
// underneath github.com/pion/webrtc/v3. It records what pion's agents do ([Recorder]), tells
// it as events for statistics ([Recorder.Outcome]),
// converts candidates to and from package ice ([FromPion], [ToPion]), and applies scores
// where pion lets one ([Prefer], [Rank]).
//
// It is a module of its own. pion/ice/v2 needs github.com/pion/stun v0.6.1, which has the
// remote panic that pion/stun/v3 fixed (GO-2026-6163), and github.com/pion/dtls/v2, whose
// GO-2026-4479 has no fix: every program that uses bradawl would link them, and govulncheck
// say so. Who runs pion/ice/v2 links them already.
//
// # What pion cannot carry
//
// Extensions of a candidate, such as generation and ufrag, and a related address of a
// host candidate: [Lost] names what a candidate would lose. Domain names but mDNS names of
// host candidates, and the side (tcptype) of TCP candidates that are not host candidates:
// [ToPion] refuses those. The ID that pion gives a candidate, the protocol towards a
// relay, and an mDNS candidate's address once it is resolved have no place in package
// ice. Where pion parsed the text of a candidate itself (UnmarshalCandidate), it has
// dropped a tcptype behind raddr, and all extensions, before FromPion sees it; parse with
// ice.ParseCandidate and convert by ToPion.
//
// # Where scores count
//
// pion gives each of its own candidates the local preference 65535 (TCP: 8191), and no
// setting changes that. So in an agent of pion that is controlling, candidates of its own
// that are of one type tie, and the one gathered first wins. [Prefer] therefore orders the
// interfaces and addresses, best first, and leaves out those not to be used. It does not
// reach the candidates that STUN and TURN servers give, whose sockets pion binds to no
// address. [Rank] puts the preference into the priority of a candidate on its way to the
// peer, who orders its pairs by it; that decides where the peer is the controlling one.
// A remote candidate's priority can be set too: change it before ToPion.
package pionice
