package punch

// What the tests in package punch_test, which meet rendezvous and detectors in simulated worlds,
// use of the inside.
type (
	UDPMachine   = udpMachine
	UDPEvent     = udpEvent
	UDPEventKind = udpEventKind
	TCPMachine   = tcpMachine
	TCPEvent     = tcpEvent
)

const (
	UDPValid  = udpValid
	UDPAgreed = udpAgreed
	UDPFailed = udpFailed
	TCPProven = tcpProven
	TCPAgreed = tcpAgreed
	TCPFailed = tcpFailed
)

var (
	NewUDPMachine = newUDPMachine
	NewTCPMachine = newTCPMachine
)
